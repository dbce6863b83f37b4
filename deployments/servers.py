"""Start and stop the local Prefect and MLflow servers; remember them in the home folder."""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from evergreen.tasks.core.errors import EvergreenError
from evergreen.tasks.io.files import folder_lock
from evergreen.tasks.io.settings import Settings

_FILE, _LOCKS = "servers.json", "servers"
_WAIT_SECONDS = 90


def read_servers(home: Path) -> dict[str, dict[str, Any]]:
    """Return what ``start_servers`` remembered; empty when nothing was started."""
    try:
        return dict(json.loads((home / _FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}


def answers(url: str, *, timeout: float = 2.0) -> bool:
    """Return True when a GET of ``url`` answers 200."""
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=timeout) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def prefect_answers(api_url: str) -> bool:
    """Return True when the Prefect API at ``api_url`` is healthy."""
    return answers(f"{api_url.rstrip('/')}/health")


def start_servers(
    settings: Settings, *, prefect_port: int, mlflow_port: int, worker: bool
) -> dict[str, dict[str, Any]]:
    """Start what does not run yet and wait until it answers.

    The worker gets the folders of configurations and state, as it may start runs in another folder.

    Raises
    ------
    EvergreenError
        When a server ended at once or did not answer in time; the message names its log.
    """
    settings.make_home()
    (settings.home / "logs").mkdir(exist_ok=True)
    with folder_lock(settings.home / _LOCKS):  # two commands at once start one set of servers
        running = {name: info for name, info in read_servers(settings.home).items() if _alive(info)}
        if "prefect" not in running:
            running["prefect"] = _start_prefect(settings, free_port(prefect_port))
        if "mlflow" not in running and not settings.tracking_uri.startswith("http"):
            running["mlflow"] = _start_mlflow(settings, free_port(mlflow_port))
        _remember(settings.home, running)
        for name, info in running.items():
            _wait(name, info)
        if worker and "worker" not in running:
            running["worker"] = _start_worker(settings, running)
            _remember(settings.home, running)
    return running


def stop_servers(home: Path) -> list[str]:
    """Stop what was started here, workers before servers; return the names of what was stopped."""
    running = {name: info for name, info in read_servers(home).items() if _alive(info)}
    for name in sorted(running, key=["worker", "prefect", "mlflow"].index):
        _stop(running[name]["pid"])
    (home / _FILE).unlink(missing_ok=True)
    return sorted(running)


# A temporary Prefect server, which the commands of one home share: the first starts it, the last ends it.


_TEMPORARY = Path("prefect", "temporary")
_USERS = "users"
_EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""Prefect's own settings of a server for a few runs: no pages, no services for deployments."""
joined: set[str] = set()
"""Addresses of the temporary servers that this process uses."""


def join_temporary_server(home: Path) -> str:
    """Return the address of the temporary server's API, started where none answers; it is left when the process ends.

    Two servers on one database of SQLite lock each other out. Every user holds a shared lock, which the kernel frees
    with its holder: the last to leave stops the server, even one that a killed command started.

    Raises
    ------
    EvergreenError
        When the server ended at once or did not answer in time; its log is named.
    """
    folder = home / _TEMPORARY
    with folder_lock(folder):
        info = read_servers(folder).get("prefect")
        if info is None or not _alive(info):
            info = _start_temporary(folder)
        _wait("temporary Prefect", info)
        users = os.open(folder / _USERS, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(users, fcntl.LOCK_SH)
    joined.add(info["api"])
    atexit.register(_leave_temporary, folder, users)
    return str(info["api"])


def _start_temporary(folder: Path) -> dict[str, Any]:
    port = free_port(8300)
    command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"]
    url = f"http://127.0.0.1:{port}/api"
    info = {**_start(folder / "server.log", command, _EPHEMERAL), "api": url, "health": f"{url}/health"}
    _remember(folder, {"prefect": info})
    return info


def _leave_temporary(folder: Path, users: int) -> None:
    with folder_lock(folder):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another command still uses it
            return
        finally:
            os.close(users)
        stop_servers(folder)


def free_port(first: int) -> int:
    """Return the first port from ``first`` on that is free on loopback.

    No other process gets it here until this one has ended: by then a server listens on it.
    """
    folder = Path(tempfile.gettempdir()) / f"evergreen-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for port in range(first, first + 200):
        reserved = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(BlockingIOError):
            fcntl.flock(reserved, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    return port  # its lock stays until the process ends
        os.close(reserved)
    raise EvergreenError(f"No port between {first} and {first + 199} is free. Name another one.")


def _start_prefect(settings: Settings, port: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    environ = {"PREFECT_UI_API_URL": f"{url}/api", "PREFECT_API_URL": f"{url}/api"}
    info = _start(settings.home / "logs" / "prefect.log", command, environ)
    return {**info, "api": f"{url}/api", "ui": url, "health": f"{url}/api/health"}


def _start_mlflow(settings: Settings, port: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", settings.tracking_uri, "--workers", "1"]
    if settings.artifact_root:
        command += ["--default-artifact-root", settings.artifact_root, "--no-serve-artifacts"]
    url = f"http://127.0.0.1:{port}"
    environ = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    info = _start(settings.home / "logs" / "mlflow.log", command, environ)
    return {**info, "ui": url, "health": f"{url}/health"}


def _start_worker(settings: Settings, running: dict[str, dict[str, Any]]) -> dict[str, Any]:
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "evergreen", "--type", "process"]
    environ = {
        "PREFECT_API_URL": running["prefect"]["api"],
        "EVERGREEN_HOME": str(settings.home),
        "EVERGREEN_CONFIG": str(settings.config_dir),
        "PREFECT_WORKER_QUERY_SECONDS": os.environ.get("PREFECT_WORKER_QUERY_SECONDS", "2"),
    }
    if "mlflow" in running:
        environ["EVERGREEN_MLFLOW_UI"] = running["mlflow"]["ui"]
    return _start(settings.home / "logs" / "worker.log", command, environ)


def spawn(log: Path, command: list[str], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, with these variables added to the environment; it prints to a log."""
    with log.open("ab") as out:
        return subprocess.Popen(
            command,
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **environ},
        )


def _start(log: Path, command: list[str], environ: dict[str, str]) -> dict[str, Any]:
    pid = spawn(log, command, environ).pid
    return {"pid": pid, "started": psutil.Process(pid).create_time(), "log": str(log)}


def _wait(name: str, info: dict[str, Any]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while "health" in info and not answers(info["health"]):
        if not _alive(info) or time.monotonic() > deadline:
            raise EvergreenError(f"The {name} server did not start; its log {info['log']} says why.")
        time.sleep(0.3)
    if not _alive(info):  # what answers is another server on the same port
        raise EvergreenError(f"The {name} server ended; its log {info['log']} says why.")


def _alive(info: dict[str, Any]) -> bool:
    """Return True when the remembered process still runs (and is not another one with its number)."""
    try:
        process = psutil.Process(info["pid"])
        same = abs(process.create_time() - info["started"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stop(pid: int) -> None:
    """Send SIGTERM to a process group started here, again after ten seconds, then SIGKILL."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    for signal_number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        for member in family:
            if member.is_running():
                member.send_signal(signal_number)
        _, family = psutil.wait_procs(family, timeout=10)
        if not family:
            return


def _remember(home: Path, running: dict[str, dict[str, Any]]) -> None:
    """Write a new file and rename it: a command that reads it sees the old servers or the new ones."""
    handle, name = tempfile.mkstemp(dir=home, prefix=f".{_FILE}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(json.dumps(running, indent=2) + "\n")
    Path(name).replace(home / _FILE)
