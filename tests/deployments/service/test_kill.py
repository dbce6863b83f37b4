"""A service that is killed by -9 under load loses nothing that it answered, and answers a repeat as it did at first."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from evergreen.deployments.servers import free_port
from tests.support.champions import set_champion
from tests.support.servers import ROOT
from tests.support.service_clients import ask_once, rows_of
from tests.support.serving import logged, model_of, started

REQUESTS = 600
LONG, KILLS = 100_000, 5


@dataclass
class Heard:
    """What the clients heard."""

    answers: list
    """Each request's number and predictions, in the order in which they came."""
    broke: int
    """How often a connection broke while a request waited."""
    turned_away: int
    """How often a request got 503."""
    again: dict
    """Predictions by number of some requests that were sent once more at the end."""


def load_and_kill(model, requests, folder, *, kills, processes=2, connections=16, seed=0):
    """Ask a service for predictions while it is killed again and again; return what the clients heard.

    Between two lives the champion changes: a request that is sent again is answered by another version, unless it was
    logged before.
    """
    rng, port = random.Random(seed), free_port(18200 + 10 * (os.getpid() % 1000))
    paths = [Path(folder) / f"heard-{number}" for number in range(processes)]
    with _Clients() as clients:
        for turn in range(kills):
            with started(model, folder, "--port", str(port)) as served:
                for number, path in enumerate(paths if not turn else ()):
                    clients.start(port, number, requests, processes, path, connections)
                clients.wait_for(paths, int(requests * (turn + rng.uniform(0.4, 1)) / (kills + 1)))
                time.sleep(rng.uniform(0, 0.02))
                served.process.kill()
                served.process.wait()
            set_champion(model, 1 + (turn + 1) % 2)
        with started(model, folder, "--port", str(port)) as served:
            clients.join()
            again = ask_once(port, rng.sample(range(requests), min(requests, 200)))
        assert "Traceback" not in served.said()
    answers = [tuple(json.loads(line)) for path in paths for line in path.read_bytes().splitlines()]
    took = [json.loads(Path(f"{path}.took").read_text()) for path in paths]
    counts = {name: sum(one[name] for one in took) for name in ("broke", "turned_away")}
    return Heard(answers=answers, again=again, **counts)


class _Clients:
    """Processes that ask; none outlives a test that failed."""

    def __enter__(self):
        self._runners = []
        return self

    def __exit__(self, *_):
        for runner in self._runners:
            runner.kill()
            runner.wait()

    def start(self, *words):
        command = [sys.executable, "-m", "tests.support.service_clients", *map(str, words)]
        self._runners.append(subprocess.Popen(command, cwd=ROOT))

    def wait_for(self, paths, goal):
        """Wait until so many requests were answered."""
        deadline = time.monotonic() + 1800
        while sum(path.read_bytes().count(b"\n") for path in paths if path.exists()) < goal:
            assert time.monotonic() < deadline, "the load came to a standstill"
            assert all(runner.poll() in (None, 0) for runner in self._runners), "a client gave up"
            time.sleep(0.02)

    def join(self):
        for runner in self._runners:
            assert 0 == runner.wait(), "a client gave up"


def faults_in(model, requests, heard):
    """Count what is wrong between what was asked, what was answered, and what the log holds."""
    frame = logged(model)
    names = ["@prediction_id", "@score", "@version", "@decision", "x"]
    stored = {
        name: (score, version, decision, x) for name, score, version, decision, x in frame[names].values
    }
    first = dict(heard.answers)
    asked = {number: rows_of(number) for number in range(requests)}
    acknowledged = [
        (one["id"], (one["score"], one["version"], one["decision"], row["x"]))
        for number, found in heard.answers
        for one, row in zip(found, asked[number], strict=True)
    ]
    held = Counter(frame["x"])
    wanted = {row["x"] for rows in asked.values() for row in rows}
    return {
        "missing": sum(name not in stored for name, _ in acknowledged),
        "changed": sum(name in stored and stored[name] != content for name, content in acknowledged),
        "double": sum(count - 1 for count in held.values()) + len(frame) - len(stored),
        "unasked": len(held.keys() - wanted),
        "unheard": requests - len(first),
        "answered anew": sum(first[number] != found for number, found in heard.again.items()),
    }


def answered_by(heard):
    """Count the predictions of each version."""
    return dict(sorted(Counter(one["version"] for _, found in heard.answers for one in found).items()))


@pytest.mark.slow
def test_a_kill_under_load_loses_nothing_and_doubles_nothing(monitored, tmp_path):
    model = model_of(monitored)
    heard = load_and_kill(model, REQUESTS, tmp_path, kills=1, processes=1, connections=8)
    faults = faults_in(model, REQUESTS, heard)
    assert dict.fromkeys(faults, 0) == faults
    assert 1 <= heard.broke
    assert {1, 2} == set(answered_by(heard))


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_hundred_thousand_requests_under_five_kills_are_all_there_once(
    store, monitored, tmp_path, request, monkeypatch
):
    if store == "postgres":
        monkeypatch.setenv("EVERGREEN_LOG_URL", request.getfixturevalue("postgres_url"))
    model = model_of(monitored)
    heard = load_and_kill(model, LONG, tmp_path, kills=KILLS)
    faults = faults_in(model, LONG, heard)
    print(
        f"\n{store}: predictions by version {answered_by(heard)}, of {len(heard.answers)} requests; {KILLS} kills"
    )
    print(f"{heard.broke} requests cut off, {heard.turned_away} turned away; {faults}")
    assert dict.fromkeys(faults, 0) == faults
    assert model.stores.log.url.drivername.startswith(store)
    assert KILLS <= heard.broke
    assert {1, 2} == set(answered_by(heard))
