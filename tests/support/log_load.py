"""Processes that write predictions as fast as they can, are killed by -9, and begin again where they were."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from sqlalchemy.exc import OperationalError

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.io.prediction_log.records import QueueFull, Served
from evergreen.tasks.io.prediction_log.store import open_log
from evergreen.tasks.io.prediction_log.writer import LogWriter, to_loop
from tests.support.crashing import start
from tests.support.postgres import execute

MODEL, CLIENTS = "fraud", 64


def serve(url, numbers, seed, heard_to):
    """Write a row for each number that was not acknowledged before; note each one in a file once it is."""
    done = {number for number, _ in heard(heard_to)}
    left = [number for number in numbers if number not in done]
    with open(heard_to, "ab", buffering=0) as notes:
        asyncio.run(_serve(url, left, random.Random(seed), notes))


async def _serve(url, left, rng, notes):
    writer = LogWriter(
        url, patience=30.0, delivery=to_loop(asyncio.get_running_loop()), capacity=CLIENTS // 2
    )
    rest = iter(left)

    async def client():
        for number in rest:
            row = Served(
                prediction_id=f"k{number}",
                position=float(number),
                version=1,
                variant="champion",
                entity=f"e{number % 1000}",
                score=rng.random(),
                features={"x": number, "text": "a" * (number % 50)},
            )
            stored = await _put(writer, row)
            os.write(notes.fileno(), json.dumps([number, stored.score]).encode() + b"\n")

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    writer.stop()


async def _put(writer, row):
    while True:
        try:
            return (await writer.put(MODEL, [row], keyed=True))[0]
        except QueueFull:  # what a client of a busy service does
            await asyncio.sleep(0.002)


def heard(path):
    """Return the numbers and scores that were acknowledged; a last line that was cut is none."""
    lines = Path(path).read_bytes().split(b"\n")[:-1] if Path(path).exists() else []
    return [tuple(json.loads(line)) for line in lines]


def load_and_kill(url, rows, folder, *, processes=2, kills=5, seed=0):
    """Write ``rows`` predictions by processes that are killed by -9 again and again; return what was heard of each."""
    rng, paths = random.Random(seed), [Path(folder) / f"heard-{number}" for number in range(processes)]
    shares = [range(number, rows, processes) for number in range(processes)]
    for turn in range(kills):
        runners = [
            start(serve, url, share, turn, str(path)) for share, path in zip(shares, paths, strict=True)
        ]
        goal = rows * (turn + 1) // (kills + 1) + rng.randrange(rows // (10 * kills))
        _wait_until(lambda goal=goal: sum(_lines(path) for path in paths) >= goal, runners)
        for runner in runners:
            os.kill(runner.pid, signal.SIGKILL)
            runner.join()
            assert runner.exitcode == -signal.SIGKILL
        print(f"killed after {sum(_lines(path) for path in paths)} acknowledged", file=sys.stderr)
    runners = [start(serve, url, share, kills, str(path)) for share, path in zip(shares, paths, strict=True)]
    for runner in runners:
        runner.join()
        assert runner.exitcode == 0
    return [pair for path in paths for pair in heard(path)]


def outlive(url, rows, path, *, kills):
    """Write by one process while the writer's session of the server is killed by -9: the whole server starts anew."""
    runner = start(serve, url, range(rows), 0, str(path))
    for turn in range(kills):
        _wait_until(lambda turn=turn: _lines(path) >= rows * (turn + 1) // (kills + 1), [runner])
        for (session,) in _sessions(url):
            os.kill(session, signal.SIGKILL)
    runner.join()
    assert runner.exitcode == 0
    return heard(path)


def _sessions(url):
    """Return the processes of the server that serve the writer; waits for one while the server recovers."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'evergreen-log-writer'"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(OperationalError):
            if found := execute(url, query):
                return found
        time.sleep(0.05)
    raise AssertionError("the writer did not come back")


def faults_in(url, rows, acknowledged):
    """Count acknowledged rows that are missing or have another score, and rows that are double or not asked for."""
    frame = open_log(url).read_predictions(MODEL, Window()).rows.frame
    stored = dict(zip(frame["@prediction_id"], frame["@score"], strict=True))
    return {
        "missing": sum(f"k{number}" not in stored for number, _ in acknowledged),
        "changed": sum(stored.get(f"k{number}") != score for number, score in acknowledged),
        "double": len(frame) - len(stored),
        "unasked": len(stored.keys() - {f"k{number}" for number in range(rows)}),
        "unheard": rows - len({number for number, _ in acknowledged}),
    }


def _lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _wait_until(reached, runners):
    deadline = time.monotonic() + 1200
    while not reached():
        assert time.monotonic() < deadline, "the load came to a standstill"
        assert all(runner.is_alive() for runner in runners), "a writer ended before it was killed"
        time.sleep(0.01)
