"""A running service traced from outside, and what of its log was on the disk when each of its answers left.

``python -m tests.support.service_traced serve …`` is the same service with a log that does not wait for the disk.
"""

import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from functools import partial
from pathlib import Path

from evergreen.deployments.cli import main
from tests.support.power_cut import Disk, read_calls

_CALLS = "trace=pwrite64,fdatasync,fsync,ftruncate,unlink,write,writev,sendto,sendmsg"


@contextlib.contextmanager
def tracing(process, trace):
    """Trace a process and its threads until the block ends."""
    command = ["strace", "-f", "-qq", "-yy", "-xx", "-s", "1000000", "-e", _CALLS, "-o", str(trace)]
    tracer = subprocess.Popen([*command, "-p", str(process.pid)])
    try:
        tasks = Path(f"/proc/{process.pid}/task")
        deadline = time.monotonic() + 30
        while any(f"TracerPid:\t{tracer.pid}" not in (one / "status").read_text() for one in tasks.iterdir()):
            assert time.monotonic() < deadline, "the service could not be traced"
            time.sleep(0.01)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(60)


def files_of(log):
    """Return the files of a SQLite log that nobody writes to now."""
    return {str(path): Path(path).read_bytes() for path in (log, f"{log}-wal")}


def look_at_answers(trace, files, cut):
    """Return what a power cut at the moment of each answer would have left of it.

    Returns
    -------
    list of (list of str, list of str)
        Ids of the predictions of each answer, and those of them that the disk would lack.
    int
        How many pages were moved from the WAL to the log on the way.
    """
    disk, found, moved = Disk(files), [], 0
    log, wal = files
    for call, path, data, number in read_calls(trace):
        if path in files:
            moved += call == "pwrite64" and path == log
            disk.apply(call, path, data, number)
        elif path.startswith("TCP:") and data.startswith(b'{"model"'):
            ids = [one["id"] for one in json.loads(data)["predictions"]]
            kept = _ids_in(cut, disk.synced[log], disk.synced[wal])
            found.append((ids, [name for name in ids if name not in kept]))
    return found, moved


def _ids_in(folder, log, wal):
    """Return the ids in a log as it would be found after a power cut."""
    (folder / "log.db").write_bytes(log)
    (folder / "log.db-wal").write_bytes(wal)
    (folder / "log.db-shm").unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "log.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {name for (name,) in connection.execute("SELECT prediction_id FROM predictions")}


class Careless(sqlite3.Connection):
    """A connection whose commits do not wait for the disk."""

    def execute(self, statement, *parameters):
        """Run a statement; the one that asks for safety asks for less."""
        return super().execute(statement.replace("synchronous = FULL", "synchronous = NORMAL"), *parameters)


if __name__ == "__main__":
    from evergreen.deployments.cli import main

    sqlite3.connect = partial(sqlite3.connect, factory=Careless)
    main()
