"""Real ``evergreen monitor`` processes, killed by SIGKILL at random moments of what they leave in the ledger."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from evergreen.tasks.core.drift.types import Phase
from tests.support.monitored import FIRST, hours, make_rows
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
    entries = {
        phase.value: setup.stores.ledger.read(model=setup.model, stream=f"windows-{phase.value}")
        for phase in Phase
    }
    return {
        topic: [one.payload["alert"]["key"] for one in several if one.payload["alert"]["change"] != "none"]
        for topic, several in entries.items()
    }


def delivered(setup, channel):
    """Return the payloads of what a channel was told."""
    found = setup.stores.ledger.read(model=setup.model, stream="deliveries")
    return [(one.kind, one.payload) for one in found if one.payload["channel"] == channel]
