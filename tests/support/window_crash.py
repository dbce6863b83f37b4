"""A small monitor that only writes, killed at every statement and commit it reaches, and run again.

Everything happens in one warmed process that forks, lets the child die at its point, and looks.
"""

import json
import os
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy.engine import make_url

from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.monitoring.windows import Windowing, due_windows
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.io.ledger import open_ledger
from evergreen.tasks.io.prediction_log.records import WindowRecord
from evergreen.tasks.io.prediction_log.store import open_log
from evergreen.tasks.io.windows import KIND, judged_since, last_window, stream_of
from tests.support.crashing import Points
from tests.support.stores import create_database

MODEL = "fraud"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUTTING = Windowing(clock="seconds", window=parse_span("10s"), label_delay=parse_span("10s"))


def monitor(ledger_url, log_url, count):
    """Look at all windows that are due: the bulky part to the log, then the entry that commits it."""
    ledger, log = open_ledger(ledger_url), open_log(log_url)
    for phase in Phase:
        while _look(ledger, log, phase, count):
            pass


def _look(ledger, log, phase, count):
    positions = np.arange(0.0, count * 10.0 + 1.0)
    seq, last_end = last_window(ledger, MODEL, phase)
    judged = judged_since(ledger, MODEL, Phase.INPUTS, last_end) if phase is Phase.OUTCOMES else None
    due = due_windows(
        positions, cutting=CUTTING, phase=phase, last_end=last_end, trained_to=None, judged=judged, most=2
    )
    for each in due.windows:
        n = int(each.window.mask(positions).sum())
        log.put_window(
            WindowRecord(
                model=MODEL, phase=phase, window=each.window, version=1, at=NOW, payload={"n": n, "seq": seq}
            )
        )
        payload = {"start": each.window.start, "end": each.window.end, "n": n}
        entry = ledger.follow(
            model=MODEL, stream=stream_of(phase), after=seq, kind=KIND, payload=payload, at=NOW
        )
        if entry is None:
            return True
        seq = entry.seq
    return bool(due.windows)


def found_in(ledger_url, log_url):
    """Return what both databases hold, by phase, and the faults of the chain."""
    ledger, log = open_ledger(ledger_url), open_log(log_url)
    return {
        "faults": len(check_chain(ledger.read())),
        **{
            phase.value: {
                "ledger": [
                    [entry.payload["start"], entry.payload["end"], entry.payload["n"]]
                    for entry in ledger.read(model=MODEL, stream=stream_of(phase))
                ],
                "log": [
                    [each.window.start, each.window.end, each.payload["n"]]
                    for each in log.windows(MODEL, phase)
                ],
            }
            for phase in Phase
        },
    }


def expected_after(count):
    """Return what ``found_in`` must find once all is done; the labels of the newest window are not due yet."""
    every = [[start * 10.0, start * 10.0 + 10.0, 10] for start in range(count)]
    return {
        "faults": 0,
        "inputs": {"ledger": every, "log": every},
        "outcomes": {"ledger": every[:-1], "log": every[:-1]},
    }


class Places:
    """Fresh databases for each try: copies of empty ones, or none at all yet, so that they are migrated too.

    SQLite files in a folder, or databases of a PostgreSQL server.
    """

    def __init__(self, folder, server, *, migrated):
        self._folder, self._server, self._made = Path(folder), server, 0
        self._empty = self._urls("empty", "template0") if migrated else None
        if self._empty is not None:
            found_in(*self._empty)

    def make(self):
        """Return the URLs of a new ledger and a new log."""
        self._made += 1
        if self._server is not None and self._empty is not None:
            return self._urls("", make_url(self._empty[0]).database)
        urls = self._urls(str(self._made), "template0")
        if self._empty is not None:
            shutil.copytree(self._folder / "empty", self._folder / str(self._made))
        return urls

    def _urls(self, name, template):
        if self._server is None:
            return tuple(f"sqlite:///{self._folder / name / part}.db" for part in ("ledger", "log"))
        return (create_database(self._server, template=template),) * 2


def run_until(urls, count, crash_at, labels_to):
    """Run the monitor in a forked process that dies at its point; return how it ended."""
    child = os.fork()
    if child == 0:
        try:
            points = Points(crash_at)
            points.listen()
            monitor(*urls, count)
            Path(labels_to).write_text(json.dumps(points.labels))
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


def enumerate_window_crashes(folder, server, count, migrated):
    """Return, for the whole run and then for each of its points, the label and what is found in the end.

    Each killed run is followed by one that is killed too, at another point, and by one that nothing interrupts.
    """
    Path(folder).mkdir(exist_ok=True)
    labels_to = Path(folder) / "labels.json"
    places = Places(folder, None if server is None else make_url(server), migrated=migrated)
    urls = places.make()
    assert run_until(urls, count, None, labels_to) == 0
    labels = json.loads(labels_to.read_text())
    found = [("no crash", found_in(*urls))]
    for point, label in enumerate(labels, start=1):
        urls = places.make()
        assert os.WTERMSIG(run_until(urls, count, point, labels_to)) == signal.SIGKILL
        second = run_until(urls, count, 1 + point * 7 % len(labels), labels_to)
        assert second == 0 or os.WTERMSIG(second) == signal.SIGKILL
        assert run_until(urls, count, None, labels_to) == 0
        found.append((f"point {point} of {len(labels)}: {label}", found_in(*urls)))
    return found


def monitor_killed(urls, count, seed):
    """Run the monitor again and again, each time killed at a random point, until it comes through."""
    rng = np.random.default_rng(seed)
    kills = 0
    labels_to = Path(os.devnull)
    while os.WTERMSIG(status := run_until(urls, count, int(rng.integers(1, 60)), labels_to)):
        kills += 1
    assert status == 0
    return kills
