"""What differs by machine is read from the environment, and pages are linked without their passwords."""

import os
import subprocess
import sys

import pytest

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io import settings as settings_module
from evergreen.tasks.io.settings import python_path, read_settings
from evergreen.tasks.io.smoke_pool import SmokePool


def test_an_embedded_store_has_no_pages_until_somebody_names_them(tmp_path):
    environ = {"EVERGREEN_HOME": str(tmp_path)}
    assert read_settings(environ).mlflow_ui is None
    named = {**environ, "EVERGREEN_MLFLOW_UI": "http://127.0.0.1:5000"}
    assert "http://127.0.0.1:5000" == read_settings(named).mlflow_ui


def test_the_pages_of_a_tracking_server_are_linked_without_user_and_password():
    settings = read_settings({"MLFLOW_TRACKING_URI": "https://user:secret@mlflow.example:8443/team/"})
    assert "https://mlflow.example:8443/team" == settings.mlflow_ui
    assert settings.artifact_root is None


def test_all_embedded_state_lies_in_the_one_folder(tmp_path):
    settings = read_settings({"EVERGREEN_HOME": str(tmp_path)})
    places = (settings.tracking_uri, settings.ledger_url, settings.log_url, settings.artifact_root)
    assert [True] * 4 == [str(tmp_path) in place for place in places]


def test_a_ledger_of_an_unknown_kind_is_refused_without_telling_its_password():
    with pytest.raises(InputError, match="starts with 'mysql'") as caught:
        read_settings({"EVERGREEN_LEDGER_URL": "mysql://me:secret@host/db"})
    assert "secret" not in str(caught.value)


def test_the_log_lies_in_the_database_of_a_ledger_on_postgresql_unless_it_has_its_own(tmp_path):
    environ = {"EVERGREEN_HOME": str(tmp_path), "EVERGREEN_LEDGER_URL": "postgresql://me@db/evergreen"}
    assert "postgresql://me@db/evergreen" == read_settings(environ).log_url
    apart = {**environ, "EVERGREEN_LOG_URL": "sqlite:///log.db"}
    assert "sqlite:///log.db" == read_settings(apart).log_url


def test_a_log_of_an_unknown_kind_is_refused_without_telling_its_password():
    with pytest.raises(InputError, match="EVERGREEN_LOG_URL starts with 'mysql'") as caught:
        read_settings({"EVERGREEN_LOG_URL": "mysql://me:secret@host/db"})
    assert "secret" not in str(caught.value)


@pytest.fixture
def shadowing(tmp_path, monkeypatch):
    """Let Evergreen stand in a folder that also holds modules of names from elsewhere."""
    for name in ("colorsys", "yaml"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('shadowed')\n")
    monkeypatch.setattr(settings_module, "import_root", lambda: tmp_path)
    return tmp_path


def test_the_folder_of_evergreen_shadows_no_module_in_a_child_process(shadowing):
    """Neither of the standard library nor of the environment."""
    environ = {**os.environ, "PYTHONPATH": python_path()}
    code = "import sys, colorsys, yaml; print(sys.path)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False
    )
    assert 0 == done.returncode, done.stderr
    assert str(shadowing) in done.stdout


def test_a_folder_on_the_path_keeps_its_place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/team", str(tmp_path), "/last"])
    monkeypatch.setattr(settings_module, "import_root", lambda: tmp_path)
    assert ["/team", str(tmp_path), "/last"] == python_path().split(os.pathsep)


def test_the_process_of_smoke_tests_is_started_with_that_path(shadowing, monkeypatch):
    environments = []

    def start(*args, env, **options):
        environments.append(env["PYTHONPATH"])
        raise InterruptedError

    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(InterruptedError):
        SmokePool()._running()
    assert [python_path()] == environments
