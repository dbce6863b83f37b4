"""Kill -9 in every stage of a retraining, or twenty in the same second: one claim is taken up, the cooldown holds."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from evergreen.tasks.core.promotion.history import open_plans
from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.retraining.history import HELPED, MOST_RESUMED, RETRAINING
from evergreen.tasks.core.verdict import State
from evergreen.tasks.io.retraining import lock_name, read_history
from evergreen.tasks.promotion import Promoter
from tests.support.champions import TRAINED, MonitoredStores, hours, make_rows
from tests.support.commands import command
from tests.support.dying_command import DIE_AT, LABELS, NO_SMOKE, entry_label
from tests.support.servers import ROOT
from tests.support.stores import create_database

pytestmark = [pytest.mark.proof, pytest.mark.server, pytest.mark.timeout(3600)]
SEED, RANDOM_KILLS = 20260501, 15
STARTED, RESUMED, ENDED = ("retraining started", "retraining resumed", "retraining ended")
TRAINING = ("register", "set @candidate", "decisions train", "retraining stage train")
GATE = ("decisions validate", "tag evergreen.rejected_for", "set @challenger", "retraining stage validate")
CHALLENGE = ("alpha look", "decisions judgement")
PLAN = (
    "plans planned",
    "set @champion",
    "set @fallback",
    "delete @challenger",
    "delete @candidate",
    "plans closed",
)
CLOSING = ("plans smoked", "decisions challenge", "retraining stage challenge", "tag evergreen.retraining")
LAST = (ENDED, "decisions retrain")
WRITES = {STARTED, *TRAINING, *GATE, *CHALLENGE, *PLAN, *CLOSING, *LAST}
"""Every write of an undisturbed retraining that promotes, in about this order."""
PAIRS = [
    ("before retraining started", "before decisions judgement"),
    ("after retraining started", "after alpha look"),
    ("before register", "after decisions judgement"),
    ("after register", "before plans planned"),
    ("after set @candidate", "after plans planned"),
    ("after decisions train", "after set @champion"),
    ("after retraining stage train", "after set @fallback"),
    ("before decisions validate", "after delete @challenger"),
    ("after decisions validate", "after delete @candidate"),
    ("after tag evergreen.rejected_for", "after plans closed"),
    ("after set @challenger", "after plans smoked"),
    ("after retraining stage validate", "after decisions challenge"),
    ("after retraining stage challenge",),
    ("after tag evergreen.retraining",),
    ("after retraining ended",),
    ("after decisions retrain",),
]
"""Two deaths of one claim, the first before the challenge, the second in it; and single ones at the end."""
DYING = (sys.executable, "-m", "tests.support.dying_command")
EVERGREEN = (str(Path(sys.executable).with_name("evergreen")),)
NEWS = 100
"""Hours of rows that came after the champion."""
SECTIONS = {"retraining": {"window": "48h"}, "split": {"min_rows": 50, "holdout": "16h"}}


def make_news(*, turned=True):
    """Return rows whose outcome, once the champion has learned, follows ``x`` the other way round (or goes on)."""
    frame = make_rows(hours=TRAINED + NEWS)
    if turned:
        frame.loc[frame.index[hours(TRAINED, TRAINED + NEWS)], "x"] *= -1.0
    return frame


class Place:
    """One model with a champion, in stores of its own, and the processes that retrain it."""

    def __init__(self, folder, trained, patch, *, ledger=None, refit=False, turned=True):
        folder.mkdir(parents=True)
        self.folder, monitored = folder, MonitoredStores(folder, trained, patch)
        if ledger is not None:
            patch.setenv("EVERGREEN_LEDGER_URL", ledger)
            patch.setenv("EVERGREEN_LOG_URL", ledger)
        self.setup = monitored.setup(make_news(turned=turned), **SECTIONS, promotion={"refit": refit})
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
        """Return what serving code, an operator and an auditor see."""
        entries = self.ledger.read(model=self.model)
        versions = self.registry.versions(self.model)
        return SimpleNamespace(
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

        mlflow.set_tracking_uri(self.setup.settings.tracking_uri)
        served = mlflow.pyfunc.load_model(f"models:/{self.model}@champion")
        return len(np.asarray(served.predict(make_rows(hours=1, seed=3)[["x", "z", "colour"]])))


@pytest.fixture
def places(prefect_server, champion_store, tmp_path, monkeypatch):
    """Makes models in stores of their own."""

    def make(name="place", **options):
        return Place(tmp_path / name, champion_store, monkeypatch, **options)

    return make


def assert_settled(place, *, resumed, states=frozenset({State.PROMOTED})):
    """One claim, open and ended once; aliases, plans, chain and status in order; the cooldown holds the next."""
    found = place.look()
    (attempt,) = found.attempts
    assert (1, 1, resumed) == tuple(map(found.kinds.count, ("started", "ended", "resumed"))), found.kinds
    assert ("started", "ended") == (found.kinds[0], found.kinds[-1])
    assert attempt.state in states, attempt
    assert ((), 0, 40) == (found.faults, found.plans_open, found.answers)
    assert ("Consistent", [], []) == tuple(
        found.status[key] for key in ("state", "pending", "inconsistencies")
    )
    mine = {version for version, claim in found.claims.items() if claim == attempt.claim}
    if attempt.state is State.PROMOTED:
        assert {"champion": attempt.version, "fallback": 1} == found.aliases
        assert {attempt.version, attempt.stages["train"]["version"]} == mine
    moved = dict(found.aliases.items() - place.before.items())
    assert set(moved) <= {"champion", "fallback", "challenger", "candidate"}
    assert set(moved.values()) - {1} <= mine  # 1 is the champion of before
    assert attempt.claim == found.status["retraining"]["last"]["claim"]
    held = place.held()
    assert (0, "Blocked", "cooldown") == (held.exit_code, held.state, held.codes[0])
    rest = timedelta(hours=1 if attempt.state in HELPED else 2)
    assert attempt.at + rest == datetime.fromisoformat(held.json["next_allowed_at"])
    assert found.kinds == place.kinds()
    return attempt


def test_the_points_below_are_all_the_writes_of_a_retraining(places):
    points, answer = places().points()
    assert "Promoted" == answer["state"]
    assert {point.split(" ", 1)[1] for point in points} == WRITES
    assert {f"after {label}" for label in WRITES} <= {point for pair in PAIRS for point in pair}


@pytest.mark.parametrize("points", PAIRS, ids=", then ".join)
def test_a_retraining_killed_at_every_write_is_taken_up_and_ends_once(places, points):
    place = places()
    open_ones = 0
    for point in points:
        assert place.retrain_until(f"{point}:1") is None, f"{point} was not reached"
        open_ones += place.open
    answer = place.retrain_until(None)
    attempt = assert_settled(place, resumed=open_ones)
    over = points[-1] in {f"after {label}" for label in LAST}
    assert ("Blocked" if over else "Promoted") == answer["state"]
    assert over or (answer["claim"], answer["resumed"]) == (attempt.claim, open_ones)


@pytest.mark.parametrize(
    "points", [("after register:2", "after set @champion:1"), ("after tag validation_status:1",)]
)
def test_a_refit_that_its_owner_did_not_live_to_crown_is_made_again_and_one_that_reigns_is_kept(
    places, points
):
    place = places(refit=True)
    for point in points:
        assert place.retrain_until(point) is None, f"{point} was not reached"
    place.retrain_until(None)
    attempt = assert_settled(place, resumed=len(points))
    tags = place.registry.version(place.model, attempt.version).tags
    assert str(attempt.stages["train"]["version"]) == tags["evergreen.evaluated_as"]


def test_a_challenge_that_kept_the_champion_is_not_held_twice(places):
    place = places(turned=False)
    for point in ("after decisions judgement:1", "before retraining stage challenge:1"):
        assert place.retrain_until(point) is None, f"{point} was not reached"
    assert place.retrain_until(None)["state"] in {"ChampionKept", "InsufficientData"}
    assert_settled(place, resumed=2, states={State.CHAMPION_KEPT, State.INSUFFICIENT_DATA})
    assert 1 == len(place.ledger.read(model=place.model, stream="alpha"))
    assert 1 == place.look().aliases["champion"]


def test_one_that_dies_each_time_is_closed_as_failed_and_the_cooldown_holds_still(places):
    place = places()
    for label in (STARTED, *[RESUMED] * MOST_RESUMED):
        assert place.retrain_until(f"after {label}:1") is None
    answer = place.retrain_until(None)
    assert ("Blocked", ["cooldown", "died_again"]) == (
        answer["state"],
        [one["code"] for one in answer["reasons"]],
    )
    assert_settled(place, resumed=MOST_RESUMED, states={State.FAILED})


def test_a_retraining_killed_at_random_moments_on_postgresql_is_taken_up_and_ends_once(
    places, postgres_server
):
    rng, moments = np.random.default_rng(SEED), []
    whole = places("whole", ledger=create_database(postgres_server))
    assert "Promoted" == whole.retrain(EVERGREEN)["state"]
    begun, *_, ended = (entry.at for entry in whole.entries())
    seconds = (ended - begun).total_seconds()
    while len(moments) < RANDOM_KILLS:
        place = places(
            f"place{len(moments)}", ledger=create_database(postgres_server), refit=len(moments) % 2 == 1
        )
        for _ in range(MOST_RESUMED):
            if (died_after := place.die_within(rng.uniform(0.0, seconds))) is None:
                break
            moments.append(died_after)
        if place.open:
            assert place.retrain(EVERGREEN)["state"] == "Promoted"
        assert_settled(place, resumed=place.kinds().count("resumed"))
    print(f"\npostgres: {len(moments)} kills within {seconds:.1f} s of the claim, after {Counter(moments)}")


MANY = 20
COOLDOWN = timedelta(hours=1)


@pytest.mark.parametrize("turned", [True, False], ids=["it helps", "it does not help"])
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_of_twenty_commands_at_once_one_retrains_and_nineteen_are_held_until_the_cooldown_ends(
    store, turned, prefect_server, champion_store, tmp_path, monkeypatch, request
):
    ledger = request.getfixturevalue("postgres_url") if store == "postgres" else None
    place = Place(tmp_path / "place", champion_store, monkeypatch, ledger=ledger, turned=turned)
    begun = time.monotonic()
    processes = [place.start(EVERGREEN, name=f"run{number}") for number in range(MANY)]
    seconds = time.monotonic() - begun
    assert [0] * MANY == [process.wait(1800) for process in processes], place.said("run*.txt")
    answers = [place.answer(f"run{number}") for number in range(MANY)]
    held = [one for one in answers if one["state"] == "Blocked"]
    (started,) = (one for one in answers if one["state"] != "Blocked")
    assert MANY - 1 == len(held)
    assert ["started", "stage", "stage", "stage", "ended"] == place.kinds()
    (attempt,) = read_history(place.ledger, place.model).attempts
    assert (attempt.claim, attempt.state.value) == (started["claim"], started["state"])
    assert (attempt.state in HELPED) == turned
    waits = Counter(
        (one["reasons"][0]["code"], datetime.fromisoformat(one["next_allowed_at"]) - attempt.at)
        for one in held
    )
    print(f"\n{store}: {MANY} started within {seconds:.1f} s, one {started['state']}, held: {dict(waits)}")
    known = {("in_progress", COOLDOWN), ("cooldown", COOLDOWN if turned else 2 * COOLDOWN)}
    assert set(waits) <= known
    assert (0, ()) == (place.look().plans_open, check_chain(place.ledger.read()))
    assert "Consistent" == place.look().status["state"]
