"""`evergreen doctor` says of every store whether it answers, and is held up by none of them."""

import http.server
import threading

import pytest
import yaml

from evergreen.deployments import doctor
from evergreen.deployments.doctor import ask_at_once, run_checks
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.settings import read_settings
from tests.support.commands import write_model

STORES = ("ledger", "log", "mlflow")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    for name in ("EVERGREEN_LEDGER_URL", "EVERGREEN_LOG_URL", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path / "home"))
    return monkeypatch


def stores(*, timeout_s):
    return {one["check"]: one for one in run_checks(timeout_s=timeout_s) if one["check"] in STORES}


def test_stores_that_answer_are_said_to(machine):
    assert dict.fromkeys(STORES, (True, "answers")) == {
        name: (one["ok"], one["message"]) for name, one in stores(timeout_s=60).items()
    }


def test_a_tracking_server_that_is_gone_is_said_to_be(machine):
    machine.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    found = stores(timeout_s=60)
    assert [True, True, False] == [found[name]["ok"] for name in STORES]
    assert "Connection refused" in found["mlflow"]["message"]
    assert "MLFLOW_TRACKING_URI" in found["mlflow"]["message"]


def test_one_that_never_answers_holds_nothing_up_and_is_named():
    answers, over = threading.Event(), threading.Event()

    def answer():
        answers.set()

    def never():
        answers.wait()  # the other has answered by then
        over.wait()

    found = ask_at_once({"mlflow": never, "ledger": answer}, timeout_s=3)
    over.set()
    assert {"mlflow": "No answer within 3 s", "ledger": None} == found


def test_all_are_asked_at_the_same_time():
    together = threading.Barrier(3)
    asks = {name: lambda: together.wait(timeout=60) for name in STORES}
    assert dict.fromkeys(STORES) == ask_at_once(asks, timeout_s=60)


def test_what_a_store_says_instead_of_answering_is_told_without_credentials():
    def refuse():
        raise ConnectionError("postgresql://ann:secret@host/db refused.")

    found = ask_at_once({"ledger": refuse}, timeout_s=60)
    assert "secret" not in found["ledger"]
    assert found["ledger"].startswith("ConnectionError: postgresql://")


def test_a_file_of_data_that_is_not_there_is_named(machine, tmp_path):
    machine.setenv("EVERGREEN_CONFIG", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    path = write_model(tmp_path / "config", "rides")
    assert (True, "reads well") == config_check()
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "data": {**values["data"], "source": "gone.csv"}}))
    ok, message = config_check()
    assert not ok
    assert "gone.csv" in message
    assert "data.source" in message


def config_check():
    (found,) = [one for one in run_checks() if one["check"] == "config/rides.yaml"]
    return found["ok"], found["message"]


class SignIn(http.server.BaseHTTPRequestHandler):
    """A page in place of Prefect's API."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>Sign in</html>")

    do_POST = do_GET

    def log_message(self, *_):
        pass


def test_a_page_in_place_of_prefects_api_is_a_finding_and_ends_no_other_check(machine):
    with http.server.HTTPServer(("127.0.0.1", 0), SignIn) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        machine.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api")
        found = {one["check"]: one for one in run_checks(timeout_s=60)}
        server.shutdown()
        thread.join()
    assert {"python", "packages", "disk", "config", *STORES} <= set(found)
    assert not found["names"]["ok"]
    assert "unset PREFECT_API_URL" in found["names"]["message"]


def test_a_file_in_the_place_of_the_models_folder_is_a_finding(machine, tmp_path):
    (tmp_path / "one.yaml").write_text("")
    machine.setenv("EVERGREEN_CONFIG", str(tmp_path / "one.yaml"))
    found = {one["check"]: one for one in run_checks(timeout_s=60)}
    assert (False, True) == (found["config"]["ok"], "a file. Give the folder" in found["config"]["message"])
    assert set(STORES) <= set(found)


def test_a_home_that_cannot_be_made_is_named(machine):
    machine.setenv("EVERGREEN_HOME", "/proc/nope")
    with pytest.raises(InputError, match=r"EVERGREEN_HOME is '/proc/nope', a folder that cannot be made"):
        read_settings().make_home()


def test_a_server_that_answers_prefects_questions_with_an_error_is_a_finding_with_a_remedy(machine):
    def refuse(_):
        raise RuntimeError("HTTP 404")

    machine.setattr(doctor, "find_old_names", refuse)
    machine.setattr(doctor, "prefect_answers", lambda _: True)
    machine.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    found = {one["check"]: one for one in run_checks(timeout_s=60)}
    assert (False, True) == (found["names"]["ok"], "HTTP 404" in found["names"]["message"])
    assert "correct or unset PREFECT_API_URL" in found["names"]["message"]
