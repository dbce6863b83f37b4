"""Live tests and logged answers of made-up models, small enough to read."""

import numpy as np

from evergreen.tasks.core.ab_testing.analysis import analyse_live_test
from evergreen.tasks.core.ab_testing.definition import Arm, LiveTest
from evergreen.tasks.core.ab_testing.evidence import LoggedAnswers, gather_evidence, observe
from evergreen.tasks.core.ab_testing.metric import is_hits, live_metric, span_of
from evergreen.tasks.core.metrics.scored import Scored

DAY = 86_400.0


def live_test(mode="arms", *, share=0.5, **changed):
    """Return a test of version 2 ('new') against version 1."""
    arms = mode == "arms"
    given = {
        "name": "spring",
        "hypothesis": "version 2 is right more often",
        "metric": "accuracy",
        "mode": mode,
        "control": Arm(name="champion", version=1, share=1 - share if arms else 1.0),
        "challengers": (Arm(name="new", version=2, share=share if arms else 1.0),),
        "min_improvement": 0.05,
        "start": 0.0,
        "longest": 30 * DAY,
        "alpha": 0.05,
    }
    return LiveTest(**{**given, **changed})


def answers(variants, right, *, positions=None, known_at=None, keys=None, units=None, score=None):
    """Return logged answers of a binary model: every outcome is 1, and an answer is right where it says so."""
    n = len(variants)
    place = np.arange(n, dtype=float) if positions is None else np.asarray(positions, dtype=float)
    label = np.asarray(right, dtype=int)
    return LoggedAnswers(
        keys=np.array([f"p{i}" for i in range(n)] if keys is None else keys, dtype=object),
        variants=np.asarray(variants, dtype=object),
        units=np.array([None] * n if units is None else units, dtype=object),
        positions=place,
        known_at=place if known_at is None else np.asarray(known_at, dtype=float),
        scored=Scored(y=np.ones(n, dtype=int), label=label, classes=(0, 1), score=score),
    )


def two_arms(rng, *, n=4_000, share=0.5, control=0.7, challenger=0.8, **more):
    """Return answers of both arms, each row by one of them."""
    variants = np.where(rng.random(n) < share, "new", "champion")
    right = rng.random(n) < np.where(variants == "new", challenger, control)
    return answers(variants, right, **more)


def pairs(rng, *, n=2_000, control=0.7, gain=0.4, loss=0.02, **more):
    """Return answers of the champion and of its shadow to the same rows."""
    before = rng.random(n) < control
    draw = rng.random(n)
    after = np.where(before, draw > loss, draw < gain)
    keys = [f"p{i}" for i in range(n)]
    place = np.tile(np.arange(n, dtype=float), 2)
    return answers(
        np.repeat(["champion", "new"], n), np.append(before, after), keys=keys + keys, positions=place, **more
    )


def look(test, answered, *, now=40 * DAY, metric="accuracy", problem="binary", clip=None, guards=None):
    """Gather the evidence of answers and look at it."""
    found = live_metric(metric, problem=problem)
    evidence = gather_evidence(observe(answered, found), test, now=now, clip=clip)
    return analyse_live_test(
        test, evidence, now=now, hits=is_hits(found), span=span_of(found, clip), guards=guards
    )
