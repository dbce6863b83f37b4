"""A service's writing, killed at every step of the log's writer, and run again by clients that ask again.

Everything happens in one warmed process that restores the log, forks, lets the child die at its point, and looks.
"""

import json
import os
import shutil
import signal
from pathlib import Path

from sqlalchemy.engine import make_url

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.io.prediction_log.records import KnownOutcome, Served, ShadowScore
from evergreen.tasks.io.prediction_log.store import open_log
from evergreen.tasks.io.prediction_log.writer import LogWriter, open_store
from tests.support.crashing import Points
from tests.support.stores import create_database, execute

MODEL = "fraud"
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


def write_all(log, requests, attempt, acknowledge, points=None):
    """Put each request and its outcomes one after the other; tell what was acknowledged as soon as it is.

    Each attempt gives answers of its own, so that the first one that was stored can be told from later ones.
    """
    store = open_store(log, timeout=20.0)
    if points is not None:
        _watch(store, points)
    writer = LogWriter(store)
    for position, ids in enumerate(requests):
        shadow = ShadowScore(variant="night", version=2, score=float(attempt))
        rows = [
            Served(
                prediction_id=name,
                position=float(position),
                version=1,
                variant="champion",
                score=float(attempt),
                features={"x": name},
                shadows=(shadow,),
            )
            for name in ids
        ]
        for stored in writer.put(MODEL, rows, keyed=True).result(60):
            acknowledge(["prediction", stored.prediction_id, stored.score])
        known = [KnownOutcome(prediction_id=name, outcome="yes", known_at=float(attempt)) for name in ids]
        receipt = writer.put_outcomes(MODEL, known).result(60)
        assert receipt.written + receipt.known == len(ids)
        for name in ids:
            acknowledge(["outcome", name, "yes"])
    writer.stop()


def _watch(store, points):
    """Make each step of a store two points: before and after."""
    for name in STEPS:
        setattr(store, name, _watched(name, getattr(store, name), points))


def _watched(name, method, points):
    def step(*args, **kwargs):
        points.reach(f"before {name}")
        answer = method(*args, **kwargs)
        points.reach(f"after {name}")
        return answer

    return step


def run_until(url, requests, attempt, crash_at, labels_to):
    """Write in a forked process that dies at its point; return how it ended and what it acknowledged."""
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            points = Points(crash_at)

            def acknowledge(what):
                os.write(told, json.dumps(what).encode() + b"\n")
                points.reach("acknowledged")

            write_all(url, requests, attempt, acknowledge, points)
            Path(labels_to).write_text(json.dumps(points.labels))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        acknowledged = [json.loads(line) for line in pipe]
    return os.waitpid(child, 0)[1], acknowledged


def found_in(url):
    """Return what the log holds: score by id, outcome by id, ids with a shadow's score; each as a list of pairs."""
    log = open_log(url)
    served = log.read_predictions(MODEL, Window()).rows.frame
    shadows = log.read_shadows(MODEL, Window()).rows.frame
    if served.empty:
        return {"prediction": [], "outcome": [], "shadow": []}
    return {
        "prediction": served[["@prediction_id", "@score"]].values.tolist(),
        "outcome": served.loc[served["@outcome"].notna(), ["@prediction_id", "@outcome"]].values.tolist(),
        "shadow": shadows["@prediction_id"].tolist(),
    }


def faults_of(url, requests, acknowledged, *, complete):
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

    After each kill a client asks everything again, is killed too, at another point, and asks once more.
    """
    Path(folder).mkdir(exist_ok=True)
    labels_to = Path(folder) / "labels.json"
    places = _Places(Path(folder), None if server is None else make_url(server))
    url = places.make()
    status, acknowledged = run_until(url, requests, 0, None, labels_to)
    assert status == 0
    labels = json.loads(labels_to.read_text())
    results = [("no crash", faults_of(url, requests, acknowledged, complete=True))]
    for point, label in enumerate(labels, start=1):
        url, acknowledged, wrong = places.make(), [], []
        for attempt, crash_at in enumerate((point, 1 + point * 7 % len(labels), None)):
            status, heard = run_until(url, requests, attempt, crash_at, labels_to)
            assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL
            assert status == 0 or crash_at is not None
            acknowledged += heard
            wrong += faults_of(url, requests, acknowledged, complete=crash_at is None)
        results.append((f"point {point} of {len(labels)}: {label}", wrong))
    return results


class _Places:
    """An empty, migrated log for each try: copies of one SQLite file, or one PostgreSQL database emptied again."""

    def __init__(self, folder, server):
        self._folder, self._made = folder, 0
        self._shared = None if server is None else create_database(server)
        found_in(self._shared or f"sqlite:///{folder}/empty.db")

    def make(self):
        self._made += 1
        if self._shared is not None:
            execute(
                self._shared,
                "TRUNCATE evergreen_log.predictions, evergreen_log.outcomes, evergreen_log.shadows",
            )
            return self._shared
        shutil.copy(self._folder / "empty.db", self._folder / f"{self._made}.db")
        return f"sqlite:///{self._folder}/{self._made}.db"
