"""What was answered is on the disk: by traces of system calls, and by what a power cut would leave of the files."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from evergreen.deployments.cli import main
from evergreen.tasks.io.prediction_log.store import Log
from evergreen.tasks.io.prediction_log.writer import LogWriter
from tests.support.logs import MODEL, served
from tests.support.servers import ROOT
from tests.support.service_clients import ask_all, ask_once
from tests.support.serving import PREDICT, model_of, rows, started
from tests.support.stores import execute

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]
REQUESTS, SIZE = 90, 60_000
"""Enough pages for the WAL to be checkpointed and begun anew on the way."""
FILES = "pwrite64,write,fdatasync,fsync,ftruncate,unlink"
SOCKETS = "writev,sendto,sendmsg"
HEXADECIMAL = ("-yy", "-xx", "-s", "1000000")
_CALL = re.compile(
    r"^\d+ +(\w+)\((?:\d+<(TCP:\[[^]]*\]|[^>]*)>(?:\(deleted\))?|\"([^\"]*)\")(.*)\) += (-?\d+)$"
)
_WRITTEN = re.compile(r'^, "([^"]*)", \d+(?:, (\d+))?$')


def strace(trace, calls, *options):
    """Return the beginning of a command that traces a process and its threads."""
    return ["strace", "-f", "-qq", "-e", calls, *options, "-o", str(trace)]


@contextlib.contextmanager
def tracing(pid, command, traced):
    """Trace running processes until the block ends; ``traced`` are the folders of /proc that must say so first."""
    tracer = subprocess.Popen([*command, "-p", str(pid)])
    try:
        deadline = time.monotonic() + 30
        while any(f"TracerPid:\t{tracer.pid}" not in (one / "status").read_text() for one in traced()):
            assert time.monotonic() < deadline, f"process {pid} could not be traced"
            time.sleep(0.01)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(60)


def tracing_service(process, trace):
    tasks = Path(f"/proc/{process.pid}/task")
    return tracing(
        process.pid, strace(trace, f"trace={FILES},{SOCKETS}", *HEXADECIMAL), lambda: list(tasks.iterdir())
    )


def tracing_syncs(url, trace):
    """Trace the syncs of a PostgreSQL server until the block ends."""
    assert [tuple(row) for row in execute(url, "SHOW fsync")] == [("on",)]
    ((data,),) = execute(url, "SHOW data_directory")
    postmaster = (Path(data) / "postmaster.pid").read_text().split()[0]
    command = strace(trace, "trace=fdatasync,fsync", "-ttt", "-T", "-y")
    return tracing(postmaster, command, lambda: [Path(f"/proc/{postmaster}")])


def unsynced(trace, spans):
    """Return the spans (start, end) in which no sync of the WAL began and ended."""
    syncs = []
    for line in trace.read_text().splitlines():
        if "pg_wal" in line and line.endswith(">"):
            begun = float(line.split()[1])
            syncs.append((begun, begun + float(line.rpartition("<")[2].rstrip(">"))))
    return [(a, b) for a, b in spans if not any(a <= begun and ended <= b for begun, ended in syncs)]


def _text(hexadecimal):
    if hexadecimal.startswith("TCP:"):
        return hexadecimal
    return bytes.fromhex(hexadecimal.replace("\\x", "")).decode()


def read_calls(trace):
    """Yield (call, path, data, offset or length) of each system call that succeeded, in the order of their ends.

    What is sent to a socket is told where it begins: from then on somebody may have read it.
    """
    begun = {}
    for line in trace.read_text(encoding="utf-8").splitlines():
        thread, _, rest = line.partition(" ")
        if rest.endswith(" <unfinished ...>"):
            begun[thread] = rest.removesuffix(" <unfinished ...>").strip()
            if "<TCP:" not in rest:
                continue
            rest = f"{begun[thread]}) = 0"
        elif "resumed>" in rest:
            rest = begun.pop(thread) + rest.partition("resumed>")[2]
            if "<TCP:" in rest:
                continue
        found = _CALL.match(f"{thread} {re.sub(r' +=', ' =', rest.strip())}")
        if found is None or int(found[5]) < 0:
            continue
        call, path, tail = found[1], _text(found[2] or found[3]), found[4]
        if call in ("pwrite64", "write"):
            data, offset = _WRITTEN.match(tail).groups()
            yield call, path, bytes.fromhex(data.replace("\\x", "")), None if offset is None else int(offset)
        else:
            yield call, path, b"", int(tail.rpartition(",")[2] or 0)


class Disk:
    """Files as programs see them, and as they are on the disk: what was written after the last sync is not there.

    Parameters
    ----------
    files : dict of str to bytes
        What is there, and synced, at the beginning.
    """

    def __init__(self, files):
        self.seen = {path: bytearray(data) for path, data in files.items()}
        self.synced = dict(files)
        self.unsynced = dict.fromkeys(files, 0)

    def apply(self, call, path, data, number):
        """Follow one call; those on other files are left out by whoever calls."""
        if call == "pwrite64":
            file = self.seen.setdefault(path, bytearray())
            file.extend(b"\0" * (number - len(file)))
            file[number : number + len(data)] = data
            self.unsynced[path] = self.unsynced.get(path, 0) + 1
        elif call == "ftruncate":
            file = self.seen.setdefault(path, bytearray())
            del file[number:]
            file.extend(b"\0" * (number - len(file)))
        elif call == "unlink":
            for files in (self.seen, self.synced, self.unsynced):
                files.pop(path, None)
        elif path in self.seen:
            self.synced[path], self.unsynced[path] = bytes(self.seen[path]), 0


def ids_in(folder):
    """Return the ids in the log of a folder."""
    with contextlib.closing(sqlite3.connect(folder / "log.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = connection.execute("SELECT prediction_id FROM predictions ORDER BY 1").fetchall()
    return [name for (name,) in found]


def ids_after_cut(disk, log, folder):
    """Return the ids in a log as it would be found after a power cut."""
    folder.mkdir(exist_ok=True)
    for name, path in (("log.db", log), ("log.db-wal", f"{log}-wal")):
        (folder / name).write_bytes(disk.synced[path])
    (folder / "log.db-shm").unlink(missing_ok=True)
    return ids_in(folder)


def put_each(url, heard, requests, size):
    """Put one prediction after the other; note each one in a file when it was acknowledged."""
    writer = LogWriter(url)
    notes = os.open(heard, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for number in range(int(requests)):
        row = served(f"p{number:04}", position=float(number), features={"x": "a" * int(size)})
        writer.put(MODEL, [row], keyed=True).result(60)
        os.write(notes, f"p{number:04}\n".encode())
    writer.stop()


class Careless(sqlite3.Connection):
    """A connection whose commits do not wait for the disk."""

    def execute(self, statement, *parameters):
        """Run a statement; the one that asks for safety asks for less."""
        return super().execute(statement.replace("synchronous = FULL", "synchronous = NORMAL"), *parameters)


@pytest.fixture
def made(tmp_path):
    """Return the path of an empty log, whose files are closed."""
    Log(f"sqlite:///{tmp_path}/log.db")
    return tmp_path / "log.db"


def command(path, heard, requests, size):
    arguments = [f"sqlite:///{path}", str(heard), str(requests), str(size)]
    return [sys.executable, "-m", "tests.proof.test_synced", *arguments]


def test_a_power_cut_at_the_moment_of_any_answer_leaves_all_that_was_answered(made, tmp_path):
    heard, trace, wal = tmp_path / "heard", tmp_path / "trace", f"{made}-wal"
    disk = Disk({str(made): made.read_bytes()})
    traced = [*strace(trace, f"trace={FILES}", *HEXADECIMAL), *command(made, heard, REQUESTS, SIZE)]
    subprocess.run(traced, cwd=ROOT, check=True)
    answered, checkpoints = [], 0
    for call, path, data, number in read_calls(trace):
        if path in (str(made), wal):
            checkpoints += call == "pwrite64" and path == str(made)
            disk.apply(call, path, data, number)
        elif path == str(heard):
            answered.append(data.decode().strip())
            assert disk.unsynced.get(wal) == 0, f"{answered[-1]} was answered before its WAL was synced"
            assert ids_after_cut(disk, str(made), tmp_path / "cut") == answered
    assert answered == [f"p{number:04}" for number in range(REQUESTS)]
    assert checkpoints > 100


def test_killed_at_any_system_call_nothing_answered_is_lost_and_nothing_is_double(made, tmp_path):
    heard, empty, requests, killed = tmp_path / "heard", made.read_bytes(), 2, 0
    files = [part for name in ("log.db", "log.db-wal", "log.db-shm") for part in ("-P", str(tmp_path / name))]
    while True:
        for old in tmp_path.iterdir():
            old.unlink()
        made.write_bytes(empty)
        kill = f"inject=pwrite64,fdatasync,fsync,ftruncate,unlink:signal=KILL:when={killed + 1}"
        run = [*strace("/dev/null", kill, *files), *command(made, heard, requests, 100)]
        status = subprocess.run(run, cwd=ROOT, check=False).returncode
        answered = heard.read_text().split() if heard.exists() else []
        assert set(answered) <= set(ids_in(tmp_path))
        put_each(f"sqlite:///{made}", str(heard), requests, 100)
        assert ids_in(tmp_path) == ["p0000", "p0001"]
        if status == 0:
            break
        assert status in (-signal.SIGKILL, 128 + signal.SIGKILL)
        killed += 1
    print(f"\nkilled at {killed} system calls")
    assert killed > 25


def test_postgresql_syncs_its_wal_before_a_writer_acknowledges(postgres_url, tmp_path):
    writer, trace, spans = LogWriter(postgres_url), tmp_path / "trace", []
    with tracing_syncs(postgres_url, trace):
        for number in range(50):
            asked = time.time()
            writer.put(MODEL, [served(f"p{number}")]).result(60)
            spans.append((asked, time.time()))
            time.sleep(0.01)
    writer.stop()
    assert unsynced(trace, spans) == []


def answers_of(monitored, folder, *, requests, **options):
    """Ask a traced service by four clients at once.

    Returns
    -------
    list of (list of str, list of str)
        Ids of each answer of which a power cut at that moment would have lost some, and those it would have lost.
    int
        How many pages were moved from the WAL to the log on the way.
    """
    model, heard = model_of(monitored), folder / "heard"
    log, trace = model.stores.log.url.database, folder / "trace"
    with started(model, folder, **options) as served:
        port = int(served.url.rpartition(":")[2])
        ask_once(port, [requests])  # so that the files are there
        disk = Disk({path: Path(path).read_bytes() for path in (log, f"{log}-wal")})
        with tracing_service(served.process, trace):
            ask_all(port, 0, requests, 1, heard, 4)
    found, moved = [], 0
    for call, path, data, number in read_calls(trace):
        if path in (log, f"{log}-wal"):
            moved += call == "pwrite64" and path == log
            disk.apply(call, path, data, number)
        elif path.startswith("TCP:") and data.startswith(b'{"model"'):
            ids = [one["id"] for one in json.loads(data)["predictions"]]
            kept = set(ids_after_cut(disk, log, folder / "cut"))
            found.append((ids, [name for name in ids if name not in kept]))
    assert requests == len(found) == heard.read_bytes().count(b"\n")
    return [(ids, lost) for ids, lost in found if lost], moved


def test_a_power_cut_at_the_moment_of_any_answer_of_a_service_leaves_what_was_answered(monitored, tmp_path):
    lost, moved = answers_of(monitored, tmp_path, requests=900)
    print(f"\n900 answers, {moved} pages moved from the WAL on the way; lost: {len(lost)}")
    assert [] == lost
    assert 0 < moved


def test_a_log_that_does_not_wait_for_the_disk_is_found_out(monitored, tmp_path):
    lost, _ = answers_of(monitored, tmp_path, requests=60, program="tests.proof.test_synced")
    print(f"\n60 answers, lost with synchronous = NORMAL: {len(lost)}")
    assert lost


def test_postgresql_syncs_its_wal_between_each_question_and_its_answer(
    monitored, tmp_path, request, monkeypatch
):
    url, trace, spans = request.getfixturevalue("postgres_url"), tmp_path / "trace", []
    monkeypatch.setenv("EVERGREEN_LOG_URL", url)
    with (
        tracing_syncs(url, trace),  # begun first: only what is forked later is traced with its parent
        started(model_of(monitored), tmp_path) as served,
        httpx.Client(base_url=served.url) as client,
    ):
        for row in rows(50):
            asked = time.time()
            assert 200 == client.post(PREDICT, json={"records": [row]}).status_code
            spans.append((asked, time.time()))
            time.sleep(0.01)
    assert [] == unsynced(trace, spans)


if __name__ == "__main__":
    if sys.argv[1] == "serve":  # the same service with a log that does not wait for the disk
        sqlite3.connect = partial(sqlite3.connect, factory=Careless)
        main()
    else:
        put_each(*sys.argv[1:])
