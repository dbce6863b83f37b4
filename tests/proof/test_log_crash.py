"""Kill services that write predictions: at every single step, at every system call, and in the middle of a load."""

import pytest

from evergreen.tasks.io.prediction_log.store import open_log
from tests.support.crashing import ask
from tests.support.log_crash import REQUESTS, enumerate_log_crashes
from tests.support.log_load import faults_in, load_and_kill, outlive

ROWS = 100_000

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]
STORES = pytest.mark.parametrize("store", ["sqlite", "postgres"])


@STORES
def test_killed_at_every_step_nothing_acknowledged_is_lost_and_nothing_is_double(store, tmp_path, request):
    server = None
    if store == "postgres":
        server = request.getfixturevalue("postgres_server").render_as_string(hide_password=False)
    found = ask(tmp_path, enumerate_log_crashes, str(tmp_path / "logs"), server, REQUESTS)
    print(f"\n{store}: {len(found) - 1} crash points")
    met = " ".join(where for where, _ in found)
    for step in ("before begin", "after insert_outcomes", "before commit", "after commit", "acknowledged"):
        assert step in met
    assert [(where, wrong) for where, wrong in found if wrong] == []


@STORES
def test_a_hundred_thousand_predictions_under_five_kills_are_all_there_once(store, tmp_path, request):
    url = f"sqlite:///{tmp_path}/log.db"
    url = request.getfixturevalue("postgres_url") if store == "postgres" else url
    open_log(url)
    acknowledged = load_and_kill(url, ROWS, tmp_path)
    found = faults_in(url, ROWS, acknowledged)
    print(f"\n{store}: {len(acknowledged)} acknowledged, {found}")
    assert found == {"missing": 0, "changed": 0, "double": 0, "unasked": 0, "unheard": 0}


def test_a_writer_outlives_five_crashes_of_its_postgresql_server(postgres_url, tmp_path):
    open_log(postgres_url)
    rows, kills = 6000, 5
    acknowledged = outlive(postgres_url, rows, tmp_path / "heard", kills=kills)
    found = faults_in(postgres_url, rows, acknowledged)
    print(f"\n{kills} crashes of the server, {len(acknowledged)} acknowledged, {found}")
    assert found == {"missing": 0, "changed": 0, "double": 0, "unasked": 0, "unheard": 0}
