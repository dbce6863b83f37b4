"""Kill real monitoring commands at random moments: every window once, every alarm told, whatever the database."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from evergreen.tasks.core.drift.types import Phase
from tests.support.champions import FIRST, MonitoredStores, hours, make_rows, window_entries, window_hours
from tests.support.servers import ROOT

COMMAND = Path(sys.executable).with_name("evergreen")
HOURS = 60
"""Hours that are watched."""


def changing():
    """Return rows in which a feature drifts, comes back, and drifts again for good."""
    frame = make_rows(hours=FIRST + HOURS + 1)
    for first, last in ((12, 24), (40, HOURS + 1)):
        frame.loc[frame.index[hours(FIRST + first, FIRST + last)], "x"] += 3.0
    return frame


class Runs:
    """Runs of the command on one model, one after the other."""

    def __init__(self, setup, rng):
        self._setup, self._rng = setup, rng
        self.kills, self.finished, self.moments = 0, [], []

    def once(self, *, kill):
        """Start the command and kill it after some entries of the ledger, where it does not end before."""
        before, out = self.count(), self._setup.base / "out.json"
        with out.open("w") as stdout, (self._setup.base / "err.txt").open("a") as stderr:
            process = subprocess.Popen(
                [COMMAND, "monitor", self._setup.path, "--json"],
                stdout=stdout,
                stderr=stderr,
                cwd=ROOT,
                env=os.environ,
                start_new_session=True,
            )
            if kill:
                self._wait(process, before + int(self._rng.integers(0, 8)))
                process.send_signal(signal.SIGKILL)
            if process.wait(600) == -signal.SIGKILL:
                self.kills += 1
                self.moments.append(self.count() - before)
                return None
        assert process.returncode == 0, (self._setup.base / "err.txt").read_text()
        self.finished.append(json.loads(out.read_text()))
        return self.finished[-1]

    def _wait(self, process, count):
        while process.poll() is None and self.count() < count:
            time.sleep(0.01)
        time.sleep(self._rng.uniform(0.0, 0.4))

    def count(self):
        """Return how many entries the ledger has."""
        return len(self._setup.stores.ledger.read(model=self._setup.model))

    def until_done(self, *, kills):
        """Kill runs until nothing is left to look at, at most so many; return the answer of the last one."""
        while True:
            answer = self.once(kill=self.kills < kills)
            if answer is not None and not answer["windows"]:
                return answer


def told_of(setup):
    """Return keys of the alerts that say something, by topic, in the order in which they were kept."""
    window_entries = {
        phase.value: setup.stores.ledger.read(model=setup.model, stream=f"windows-{phase.value}")
        for phase in Phase
    }
    return {
        topic: [one.payload["alert"]["key"] for one in several if one.payload["alert"]["change"] != "none"]
        for topic, several in window_entries.items()
    }


def delivered(setup, channel):
    """Return the payloads of what a channel was told."""
    found = setup.stores.ledger.read(model=setup.model, stream="deliveries")
    return [(one.kind, one.payload) for one in found if one.payload["channel"] == channel]


pytestmark = [pytest.mark.proof, pytest.mark.server, pytest.mark.timeout(3600)]
KILLS = {"sqlite": 30, "postgres": 15}
LEAST = {"sqlite": 20, "postgres": 10}


def contiguous(first, last):
    return [(float(hour), hour + 1.0) for hour in range(first, last)]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_monitor_killed_at_random_moments_judges_each_window_once_and_tells_each_alarm(
    store, prefect_server, champion_store, webhook, tmp_path, monkeypatch, request
):
    monitored = MonitoredStores(tmp_path, champion_store, monkeypatch)
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:{webhook.port}")
    if store == "postgres":
        url = request.getfixturevalue("postgres_url")
        monkeypatch.setenv("EVERGREEN_LEDGER_URL", url)
        monkeypatch.setenv("EVERGREEN_LOG_URL", url)
    sections = {
        "alerts": {"notify": ["env:HOOK"]},
        "monitoring": {"max_windows": 8 if store == "postgres" else 4},
    }
    setup = monitored.setup(changing(), **sections)
    runs = Runs(setup, np.random.default_rng(20260301))
    answer = runs.until_done(kills=KILLS[store])
    print(
        f"\n{store}: {runs.kills} kills, after {sorted(runs.moments)} entries; {len(runs.finished)} runs ended"
    )
    assert runs.kills >= LEAST[store]
    assert contiguous(FIRST, FIRST + HOURS) == window_hours(setup, "inputs")
    assert contiguous(FIRST, FIRST + HOURS - 1) == window_hours(setup, "outcomes")
    assert "Drift" == answer["state"]
    check_alarms(setup)
    check_messages(setup, webhook)
    undisturbed = monitored.restarted().setup(changing(), **sections)
    Runs(undisturbed, None).until_done(kills=0)
    for phase in ("inputs", "outcomes"):
        assert window_entries(undisturbed, phase) == window_entries(setup, phase)


def check_alarms(setup):
    """An alarm that is open is not opened again, and only what is open resolves."""
    for phase in ("inputs", "outcomes"):
        open_now = set()
        for one in window_entries(setup, phase):
            for change in one["changes"]:
                key = change["kind"], change["column"]
                assert (key in open_now) == (change["change"] != "opened"), one
                open_now = open_now - {key} if change["change"] == "resolved" else open_now | {key}
    changes = [
        change["change"]
        for one in window_entries(setup, "inputs")
        for change in one["changes"]
        if change["column"] == "x"
    ]
    assert ["opened", "resolved", "opened"] == [change for change in changes if change != "worsened"]


def check_messages(setup, webhook):
    """Whatever the channel was told of arrived, perhaps twice under one key; the newest alert of a topic is settled."""
    arrived = [body["message"].splitlines()[-1].removeprefix("Message ") for body in webhook.got]
    told = delivered(setup, "env:HOOK")
    sent = [payload["key"] for kind, payload in told if kind == "sent"]
    print(f"{len(sent)} messages were noted as sent, {len(arrived)} arrived")
    assert set(sent) == set(arrived)
    assert len(sent) == len(set(sent))
    for topic, keys in told_of(setup).items():
        settled = [payload["number"] for _, payload in told if payload["topic"] == topic]
        assert (settled[-1] if settled else 0) == len(keys)
        knows = [payload["alert"] for _, payload in told if payload["topic"] == topic]
        # None: opened and resolved before it was told
        newest = [alert["open"] if alert else [] for alert in knows]
        still = [one["name"] for one in window_entries(setup, topic)[-1]["alert"]["open"]]
        assert still == [one["name"] for one in (newest[-1] if newest else [])]
