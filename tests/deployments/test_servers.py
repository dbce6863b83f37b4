"""What is remembered of servers is read whole, and of two who start them at once one does."""

import fcntl
import os
import subprocess
import sys

import pytest

from evergreen.deployments import servers
from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.io.settings import read_settings
from tests.support.servers import ROOT

FOUND = {"prefect": {"pid": 1, "started": 0.0, "log": "x", "api": "y"}}


@pytest.fixture
def settings(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    return read_settings({"EVERGREEN_HOME": str(home)})


def test_servers_that_are_being_remembered_are_read_as_they_were_until_they_are_written_whole(
    settings, monkeypatch
):
    servers._remember(settings.home, FOUND)
    with monkeypatch.context() as patch:
        patch.setattr(servers.json, "dumps", lambda *_, **__: "{" + "\ud800")  # it fails while it is written
        with pytest.raises(UnicodeEncodeError):
            servers._remember(settings.home, {})
    assert FOUND == servers.read_servers(settings.home)


def test_nobody_else_starts_servers_meanwhile(settings, monkeypatch):
    tried = []

    def start(*_):
        with (settings.home / "servers" / ".lock").open("a") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tried.append(1)
        return {}

    for name in ("_start_prefect", "_start_mlflow", "_start_worker"):
        monkeypatch.setattr(servers, name, start)
    monkeypatch.setattr(servers, "_wait", lambda *_: None)
    servers.start_servers(settings, prefect_port=4200, mlflow_port=5000, worker=True)
    assert [1, 1, 1] == tried


def test_a_port_is_given_to_one_process_at_a_time():
    first = 23_000 + 10 * (os.getpid() % 1000)
    mine = servers.free_port(first)
    ask = f"from evergreen.deployments.servers import free_port; print(free_port({mine}))"
    asked = subprocess.run([sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, check=True)
    assert mine < int(asked.stdout)


def test_a_server_that_ended_is_not_taken_for_one_of_somebody_else_that_answers(monkeypatch):
    process = subprocess.Popen([sys.executable, "-c", ""])
    info = {
        "pid": process.pid,
        "started": servers.psutil.Process(process.pid).create_time(),
        "log": "prefect.log",
    }
    process.wait()
    monkeypatch.setattr(servers, "answers", lambda *_: True)
    with pytest.raises(EvergreenError, match=r"prefect\.log"):
        servers._wait("prefect", {**info, "health": "http://127.0.0.1:1/health"})
