"""A service killed at any step of the log's writer, or under load, loses and doubles nothing it acknowledged."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.io.prediction_log.records import KnownOutcome, QueueFull, Served, ShadowScore
from evergreen.tasks.io.prediction_log.store import Log
from evergreen.tasks.io.prediction_log.writer import LogWriter, open_store, to_loop
from tests.support.processes import ask, crash_everywhere, race, start
from tests.support.stores import create_database, execute

MODEL = "fraud"
ROWS = 100_000
STORES = pytest.mark.parametrize("store", ["sqlite", "postgres"])
STEPS = (
    "begin",
    "predictions",
    "outcomes",
    "insert_predictions",
    "insert_shadows",
    "insert_outcomes",
    "commit",
    "drop",
)
REQUESTS = [["a-0"], ["b-0", "b-1", "b-2"], ["c-0"], ["b-0", "b-1", "b-2"], ["d-0", "d-1"]]
"""Ids of the rows of each request, in the order in which they come; one comes twice."""


def write_all(requests, url, attempt, points, acknowledge):
    """Put each request and its outcomes one after the other; tell what was acknowledged as soon as it is.

    Each attempt gives answers of its own, so that the first one that was stored can be told from later ones.
    """
    store = open_store(url, timeout=20.0)
    for name in STEPS:
        points.wrap(store, name)
    writer = LogWriter(store)
    for position, ids in enumerate(requests):
        rows = [served(name, position, attempt) for name in ids]
        for stored in writer.put(MODEL, rows, keyed=True).result(60):
            acknowledge(["prediction", stored.prediction_id, stored.score])
        known = [KnownOutcome(prediction_id=name, outcome="yes", known_at=float(attempt)) for name in ids]
        receipt = writer.put_outcomes(MODEL, known).result(60)
        assert receipt.written + receipt.known == len(ids)
        for name in ids:
            acknowledge(["outcome", name, "yes"])
    writer.stop()


def served(name, position, attempt):
    return Served(
        prediction_id=name,
        position=float(position),
        version=1,
        variant="champion",
        score=float(attempt),
        features={"x": name},
        shadows=(ShadowScore(variant="night", version=2, score=float(attempt)),),
    )


def found_in(url):
    """Return what the log holds: score by id, outcome by id, ids with a shadow's score; each as a list of pairs."""
    log = Log(url)
    rows = log.read_predictions(MODEL, Window()).rows.frame
    shadows = log.read_shadows(MODEL, Window()).rows.frame
    if rows.empty:
        return {"prediction": [], "outcome": [], "shadow": []}
    return {
        "prediction": rows[["@prediction_id", "@score"]].values.tolist(),
        "outcome": rows.loc[rows["@outcome"].notna(), ["@prediction_id", "@outcome"]].values.tolist(),
        "shadow": shadows["@prediction_id"].tolist(),
    }


def faults_of(requests, url, acknowledged, complete):
    """Return what is wrong: acknowledged rows that are missing or changed, rows that are double, torn requests."""
    found = found_in(url)
    wrong = [f"lost {what}" for what in acknowledged if what[1:] not in found[what[0]]]
    for kind, pairs in found.items():
        ids = [pair if kind == "shadow" else pair[0] for pair in pairs]
        wrong += [f"double {kind} {name}" for name in set(ids) if ids.count(name) > 1]
        if complete and kind != "outcome" and set(ids) != {name for request in requests for name in request}:
            wrong.append(f"incomplete {kind}: {ids}")
    there = {pair[0] for pair in found["prediction"]}
    wrong += [f"torn {ids}" for ids in requests if there & set(ids) and not set(ids) <= there]
    if set(found["shadow"]) != there:
        wrong.append(f"shadows of {found['shadow']}, predictions of {sorted(there)}")
    return wrong


def enumerate_log_crashes(folder, server, requests):
    """Return, for the whole run and then for each of its points, the label and the faults that were found.

    A client asks everything again after each kill. Each try has an empty, migrated log: a copy of one SQLite file, or
    one PostgreSQL database emptied again.
    """
    folder, numbers = Path(folder), count()
    folder.mkdir(exist_ok=True)
    shared = None if server is None else create_database(make_url(server))
    found_in(shared or f"sqlite:///{folder}/empty.db")

    def make():
        if shared is not None:
            tables = ", ".join(f"evergreen_log.{name}" for name in ("predictions", "outcomes", "shadows"))
            execute(shared, f"TRUNCATE {tables}")
            return shared
        shutil.copy(folder / "empty.db", path := folder / f"{next(numbers)}.db")
        return f"sqlite:///{path}"

    results = crash_everywhere(make, partial(write_all, requests), partial(faults_of, requests))
    return [(label, [fault for faults in found for fault in faults]) for label, found in results]


def assert_no_faults(found, steps):
    met = " ".join(where for where, _ in found)
    for step in steps:
        assert step in met
    assert [(where, wrong) for where, wrong in found if wrong] == []


def test_killed_at_every_step_nothing_acknowledged_is_lost_and_nothing_is_double(tmp_path):
    (found,) = race(enumerate_log_crashes, [(str(tmp_path / "logs"), None, [["b-0", "b-1"]])])
    assert_no_faults(found, ("before commit", "after commit", "after insert_predictions", "acknowledged"))


@pytest.mark.proof
@pytest.mark.timeout(3600)
@STORES
def test_killed_at_every_step_of_five_requests_nothing_is_lost_and_nothing_is_double(
    store, tmp_path, request
):
    server = None
    if store == "postgres":
        server = request.getfixturevalue("postgres_server").render_as_string(hide_password=False)
    found = ask(tmp_path, enumerate_log_crashes, str(tmp_path / "logs"), server, REQUESTS)
    print(f"\n{store}: {len(found) - 1} crash points")
    steps = ("before begin", "after insert_outcomes", "before commit", "after commit", "acknowledged")
    assert_no_faults(found, steps)


CLIENTS = 64


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
    frame = Log(url).read_predictions(MODEL, Window()).rows.frame
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


@pytest.mark.proof
@pytest.mark.timeout(3600)
@STORES
def test_a_hundred_thousand_predictions_under_five_kills_are_all_there_once(store, tmp_path, request):
    url = f"sqlite:///{tmp_path}/log.db"
    url = request.getfixturevalue("postgres_url") if store == "postgres" else url
    Log(url)
    acknowledged = load_and_kill(url, ROWS, tmp_path)
    found = faults_in(url, ROWS, acknowledged)
    print(f"\n{store}: {len(acknowledged)} acknowledged, {found}")
    assert found == {"missing": 0, "changed": 0, "double": 0, "unasked": 0, "unheard": 0}


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_a_writer_outlives_five_crashes_of_its_postgresql_server(postgres_url, tmp_path):
    Log(postgres_url)
    rows, kills = 6000, 5
    acknowledged = outlive(postgres_url, rows, tmp_path / "heard", kills=kills)
    found = faults_in(postgres_url, rows, acknowledged)
    print(f"\n{kills} crashes of the server, {len(acknowledged)} acknowledged, {found}")
    assert found == {"missing": 0, "changed": 0, "double": 0, "unasked": 0, "unheard": 0}
