"""A model whose newest rows ask for another champion, and the ``evergreen retrain`` processes killed on it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evergreen.tasks.core.promotion.history import open_plans
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.retraining.history import RETRAINING
from evergreen.tasks.io.retraining_claims import lock_name, read_history
from evergreen.tasks.promotion import Promoter
from tests.support.champions import LEARNED, Watched, hours, make_rows
from tests.support.commands import command
from tests.support.dying_command import DIE_AT, LABELS, NO_SMOKE, entry_label
from tests.support.servers import ROOT

DYING = (sys.executable, "-m", "tests.support.dying_command")
EVERGREEN = (str(Path(sys.executable).with_name("evergreen")),)
NEWS = 100
"""Hours of rows that came after the champion."""
SECTIONS = {"retraining": {"window": "48h"}, "split": {"min_rows": 50, "holdout": "16h"}}


def make_news(*, turned=True):
    """Return rows whose outcome, once the champion has learned, follows ``x`` the other way round (or goes on)."""
    frame = make_rows(hours=LEARNED + NEWS)
    if turned:
        frame.loc[frame.index[hours(LEARNED, LEARNED + NEWS)], "x"] *= -1.0
    return frame


@dataclass(frozen=True)
class Sight:
    """What serving code, an operator and an auditor see."""

    attempts: tuple
    kinds: list
    aliases: dict
    claims: dict
    answers: int
    plans_open: int
    faults: tuple
    status: dict


class Place:
    """One model with a champion, in stores of its own, and the processes that retrain it."""

    def __init__(self, folder, trained, patch, *, ledger=None, refit=False, turned=True):
        folder.mkdir(parents=True)
        self.folder, watched = folder, Watched(folder, trained, patch)
        if ledger is not None:
            patch.setenv("EVERGREEN_LEDGER_URL", ledger)
            patch.setenv("EVERGREEN_LOG_URL", ledger)
        self.setup = watched.setup(make_news(turned=turned), **SECTIONS, promotion={"refit": refit})
        self.registry, self.ledger = self.setup.stores.registry, self.setup.stores.ledger
        self.model = self.setup.model
        Promoter(self.registry, self.ledger, self.model).reconcile()  # the ledger takes note of the champion
        self.before = self.registry.aliases(self.model)

    def start(self, program=DYING, *, name="out", **environ):
        """Start ``retrain`` as a process group of its own."""
        with (self.folder / f"{name}.json").open("w") as out, (self.folder / f"{name}.txt").open("w") as err:
            return subprocess.Popen(
                [*program, "retrain", str(self.setup.path), "--json"],
                stdout=out,
                stderr=err,
                cwd=ROOT,
                env={**os.environ, **environ},
                start_new_session=True,
            )

    def finish(self, process):
        """Wait for the process's end and for the locks it held; return its exit code."""
        code, deadline = process.wait(900), time.monotonic() + 60
        while any(self.ledger.lock_is_held(name) for name in (self.model, lock_name(self.model))):
            assert time.monotonic() < deadline, "a lock outlived its holder"
            time.sleep(0.05)
        return code

    def retrain(self, program=DYING, **environ):
        """Run ``retrain``; return its answer, or None where it was killed."""
        code = self.finish(self.start(program, **environ))
        if code == -signal.SIGKILL:
            return None
        assert code == 0, (self.folder / "out.txt").read_text()[-3000:]
        return self.answer()

    def answer(self, name="out"):
        return json.loads((self.folder / f"{name}.json").read_text())

    def said(self, pattern):
        """Return the end of what processes said on stderr."""
        return "\n".join(path.read_text()[-500:] for path in sorted(self.folder.glob(pattern)))

    def retrain_until(self, point):
        """Run ``retrain`` without real smoke tests; it dies at a point (None: not at all)."""
        return self.retrain(**{NO_SMOKE: "1"}, **({} if point is None else {DIE_AT: point}))

    def points(self):
        """Retrain undisturbed; return every point that was reached, in order, and the answer."""
        noted = self.folder / "labels.txt"
        answer = self.retrain(**{LABELS: str(noted), NO_SMOKE: "1"})
        return noted.read_text().splitlines(), answer

    def entries(self):
        """Return the stream of retrainings."""
        return self.ledger.read(model=self.model, stream=RETRAINING)

    def die_within(self, seconds, program=EVERGREEN):
        """Run the command and kill it, children and all, up to so long after it claimed its retraining or took it up.

        Returns
        -------
        str or None
            What the ledger's newest entry was then; None where it was over before.
        """
        before, process = len(self.entries()), self.start(program)
        while process.poll() is None and len(self.entries()) == before:
            time.sleep(0.02)
        deadline = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        code = self.finish(process)
        assert code in (0, -signal.SIGKILL), (self.folder / "out.txt").read_text()[-3000:]
        return None if code == 0 else self.newest()

    def newest(self):
        """Return what was written last, of retrainings and plans."""
        written = [*self.entries(), *self.ledger.read(model=self.model, stream="plans")]
        return entry_label(max(written, key=lambda entry: entry.at))

    def kinds(self):
        """Return the kinds of entries in the stream of retrainings."""
        return [entry.kind for entry in self.entries()]

    @property
    def open(self):
        """Tell whether a retraining was started and not ended."""
        return read_history(self.ledger, self.model).open is not None

    def held(self):
        """Ask once more, in this process; return the answer."""
        return command("retrain", self.setup.path)

    def look(self):
        """Look at what is left."""
        entries = self.ledger.read(model=self.model)
        versions = self.registry.versions(self.model)
        return Sight(
            attempts=read_history(self.ledger, self.model).attempts,
            kinds=self.kinds(),
            aliases=self.registry.aliases(self.model),
            claims={info.version: info.tags.get("evergreen.retraining") for info in versions},
            answers=self._served(),
            plans_open=len(open_plans(entries)),
            faults=check_chain(entries),
            status=command("status", self.setup.path).json,
        )

    def _served(self):
        """Load what serving code loads and return how many rows it answers."""
        import mlflow

        mlflow.set_tracking_uri(self.setup.stores.tracking_uri)
        served = mlflow.pyfunc.load_model(f"models:/{self.model}@champion")
        return len(np.asarray(served.predict(make_rows(hours=1, seed=3)[["x", "z", "colour"]])))
