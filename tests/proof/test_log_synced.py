"""What was acknowledged is on the disk: by traces of system calls, and by what a power cut would leave."""

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from evergreen.tasks.io.prediction_log.store import open_log
from evergreen.tasks.io.prediction_log.writer import LogWriter
from tests.support.log_traced import MODEL
from tests.support.log_traced import main as serve
from tests.support.logs import served
from tests.support.postgres_traced import tracing_syncs, unsynced
from tests.support.power_cut import Disk, read_calls, traced

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]
ROOT = Path(__file__).resolve().parents[2]
REQUESTS, SIZE = 90, 60_000
"""Enough pages for the WAL to be checkpointed and begun anew on the way."""


@pytest.fixture
def made(tmp_path):
    """Return the path of an empty log, whose files are closed."""
    open_log(f"sqlite:///{tmp_path}/log.db")
    return tmp_path / "log.db"


def command(path, heard, requests, size):
    arguments = [f"sqlite:///{path}", str(heard), str(requests), str(size)]
    return [sys.executable, "-m", "tests.support.log_traced", *arguments]


def ids_in(folder):
    with closing(sqlite3.connect(folder / "log.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = connection.execute("SELECT prediction_id FROM predictions ORDER BY 1").fetchall()
    return [name for (name,) in found]


def test_a_power_cut_at_the_moment_of_any_answer_leaves_all_that_was_answered(made, tmp_path):
    heard, trace, cut = tmp_path / "heard", tmp_path / "trace", tmp_path / "cut"
    wal = f"{made}-wal"
    disk = Disk({str(made): made.read_bytes()})
    subprocess.run(traced(command(made, heard, REQUESTS, SIZE), trace), cwd=ROOT, check=True)
    cut.mkdir()
    answered, checkpoints = [], 0
    for call, path, data, number in read_calls(trace):
        if path in (str(made), wal):
            checkpoints += call == "pwrite64" and path == str(made)
            disk.apply(call, path, data, number)
        elif path == str(heard):
            answered.append(data.decode().strip())
            assert disk.unsynced.get(wal) == 0, f"{answered[-1]} was answered before its WAL was synced"
            for name, kept in (("log.db", disk.synced[str(made)]), ("log.db-wal", disk.synced[wal])):
                (cut / name).write_bytes(kept)
            (cut / "log.db-shm").unlink(missing_ok=True)
            assert ids_in(cut) == answered
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
        run = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", kill, *files]
        status = subprocess.run(
            [*run, *command(made, heard, requests, 100)], cwd=ROOT, check=False
        ).returncode
        answered = heard.read_text().split() if heard.exists() else []
        assert set(answered) <= set(ids_in(tmp_path))
        serve(f"sqlite:///{made}", str(heard), requests, 100)
        assert ids_in(tmp_path) == ["p0000", "p0001"]
        if status == 0:
            break
        assert status in (-signal.SIGKILL, 128 + signal.SIGKILL)
        killed += 1
    print(f"\nkilled at {killed} system calls")
    assert killed > 25


def test_postgresql_syncs_its_wal_between_each_question_and_its_answer(postgres_url, tmp_path):
    writer, trace, spans = LogWriter(postgres_url), tmp_path / "trace", []
    with tracing_syncs(postgres_url, trace):
        for number in range(50):
            asked = time.time()
            writer.put(MODEL, [served(f"p{number}")]).result(60)
            spans.append((asked, time.time()))
            time.sleep(0.01)
    writer.stop()
    assert unsynced(trace, spans) == []
