"""A monitor killed at any point of its writing and run again looks at each window exactly once."""

import itertools
import os
import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.engine import make_url

from evergreen.tasks.core.config.units import parse_span
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.monitoring.windows import Windowing, due_windows
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.io.ledger import Ledger
from evergreen.tasks.io.prediction_log.records import WindowRecord
from evergreen.tasks.io.prediction_log.store import Log
from evergreen.tasks.io.windows import KIND, judged_since, last_window, stream_of
from tests.support.processes import ask, crash_everywhere, finish, race, run_until, start
from tests.support.stores import create_database

STORES = pytest.mark.parametrize("store", ["sqlite", "postgres"])
MODEL = "fraud"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUTTING = Windowing(clock="seconds", window=parse_span("10s"), label_delay=parse_span("10s"))


def monitor(ledger_url, log_url, count):
    """Look at all windows that are due: the bulky part to the log, then the entry that commits it."""
    ledger, log = Ledger(ledger_url), Log(log_url)
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
    ledger, log = Ledger(ledger_url), Log(log_url)
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


def monitor_until(count, urls, _attempt, points, _acknowledge):
    points.listen()
    monitor(*urls, count)


def enumerate_window_crashes(folder, server, count, migrated):
    """Return, for the whole run and then for each of its points, the label and what is found in the end.

    Each try has fresh databases (SQLite files, or one of a PostgreSQL server): copies of empty ones, or none at all
    yet, so that they are migrated too.
    """
    folder, numbers = Path(folder), itertools.count(1)
    folder.mkdir(exist_ok=True)

    def urls_of(name, template):
        if server is not None:
            return (create_database(make_url(server), template=template),) * 2
        return tuple(f"sqlite:///{folder / name / part}.db" for part in ("ledger", "log"))

    empty = urls_of("empty", "template0") if migrated else None
    if migrated:
        found_in(*empty)

    def make():
        name = str(next(numbers))
        if migrated and server is None:
            shutil.copytree(folder / "empty", folder / name)
        return urls_of(name, make_url(empty[0]).database if migrated else "template0")

    look = lambda urls, _acknowledged, complete: found_in(*urls) if complete else None  # noqa: E731
    results = crash_everywhere(make, partial(monitor_until, count), look)
    return [(label, found[-1]) for label, found in results]


def monitor_killed(urls, count, seed):
    """Run the monitor again and again, each time killed at a random point, until it comes through."""
    rng = np.random.default_rng(seed)
    job, kills = partial(monitor_until, count, urls, 0), 0
    while os.WTERMSIG(status := run_until(job, int(rng.integers(1, 60)))[0]):
        kills += 1
    assert status == 0
    return kills


def assert_each_window_once(found, count, wanted):
    met = " ".join(where for where, _ in found)
    for kind in wanted:
        assert kind in met
    assert [(where, state) for where, state in found if state != expected_after(count)] == []


WRITES = ("INSERT INTO evergreen_ledger", "INSERT INTO windows", "commit")


def test_a_monitor_killed_at_every_point_judges_each_window_exactly_once(tmp_path):
    (found,) = race(enumerate_window_crashes, [(str(tmp_path / "stores"), None, 2, True)])
    assert_each_window_once(found, 2, WRITES)


def test_monitors_that_run_at_the_same_time_judge_each_window_exactly_once(tmp_path):
    urls = f"sqlite:///{tmp_path}/ledger.db", f"sqlite:///{tmp_path}/log.db"
    race(monitor, [(*urls, 25)] * 4)
    assert found_in(*urls) == expected_after(25)


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("migrated", [True, False], ids=["made before", "made by it"])
@STORES
def test_a_monitor_killed_at_every_point_of_a_longer_run_judges_each_window_exactly_once(
    store, migrated, tmp_path, request
):
    server = None
    if store == "postgres":
        server = request.getfixturevalue("postgres_server").render_as_string(hide_password=False)
    count = 4 if migrated else 2
    found = ask(tmp_path, enumerate_window_crashes, str(tmp_path / "stores"), server, count, migrated)
    print(f"\n{store}: {len(found) - 1} crash points")
    assert_each_window_once(found, count, WRITES if migrated else (*WRITES, "CREATE TABLE"))


@pytest.mark.proof
@pytest.mark.timeout(3600)
@STORES
def test_four_monitors_killed_again_and_again_judge_each_window_exactly_once(store, tmp_path, request):
    urls = tuple(f"sqlite:///{tmp_path}/{name}.db" for name in ("ledger", "log"))
    if store == "postgres":
        urls = (create_database(request.getfixturevalue("postgres_server")),) * 2
    found_in(*urls)
    paths = [tmp_path / f"{number}.json" for number in range(4)]
    runners = [start(monitor_killed, urls, 40, number, answer=path) for number, path in enumerate(paths)]
    assert [finish(runner) for runner in runners] == [0] * 4
    kills = sum(int(path.read_text()) for path in paths)
    print(f"\n{store}: {kills} kills")
    assert kills > 20
    assert found_in(*urls) == expected_after(40)
