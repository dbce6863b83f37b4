"""Kill -9 in every stage of a retraining: the next run takes the claim up or closes it, and the cooldown holds."""

from collections import Counter
from datetime import datetime, timedelta

import numpy as np
import pytest

from evergreen.tasks.core.retraining.history import HELPED, MOST_RESUMED
from evergreen.tasks.core.verdict import State
from tests.support.retrain_crash import EVERGREEN, Place
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


@pytest.fixture
def places(prefect_server, watched_store, tmp_path, monkeypatch):
    """Makes models in stores of their own."""

    def make(name="place", **options):
        return Place(tmp_path / name, watched_store, monkeypatch, **options)

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
    assert {point.split(" ", 1)[1].rsplit(":", 1)[0] for point in points} == WRITES
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
