"""How often canaries are sent back: seeded, through the service's own scoring, counting and judging.

Where none of n trials may end wrongly, a rate of 3 / n or more would be overlooked once in twenty times at most; the
proofs ask for the rates themselves, with more trials, larger calls and longer ramps.
"""

import asyncio

import numpy as np
import pytest

from evergreen.tasks.core.traffic.state import STOPPED
from tests.support.canaries import Stage, Version

pytestmark = pytest.mark.slow
WIDE = Version(spread=1.0)
"""A version whose time varies threefold from call to call."""


def ends(champion, canary, *, trials, seed, rows, **options):
    """Return how trials ended: the kind of the newest entry of each, and the guardrails that tripped."""
    kinds, why = [], []
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        stage = Stage(champion, canary, rng=rng, **options)
        end = asyncio.run(stage.play(rows=rows))
        kinds.append(end.kind)
        why += [reason.code for reason in end.reasons] if end.kind == STOPPED else []
    return kinds, why


def share_of(kinds, kind):
    return kinds.count(kind) / len(kinds)


LONG = [0.05, 0.25, 0.5, 1.0]


def proof(*case):
    return pytest.param(*case, marks=pytest.mark.proof)


@pytest.mark.parametrize(
    ("rows", "trials", "budget"),
    [(1, 20, 0.0), (16, 24, 0.0), proof(1, 30, 0.05), proof(16, 60, 0.05), proof(200, 60, 0.05)],
)
def test_equal_versions_are_sent_back_within_the_budget_whatever_the_rows_of_a_call(rows, trials, budget):
    kinds, _ = ends(
        WIDE, WIDE, trials=trials, seed=1, rows=rows, steps=[0.5]
    )  # of one round, which spends half of the budget
    assert share_of(kinds, "stopped") <= budget


@pytest.mark.parametrize("steps", [[0.05, 1.0], proof(LONG)])
def test_ramps_of_equal_versions_reach_their_end_with_large_calls(steps):
    kinds, why = ends(Version(), Version(), trials=12, seed=2, rows=200, steps=steps)
    assert share_of(kinds, "done") >= 0.95, why


@pytest.mark.parametrize(
    ("rows", "slower", "trials"),
    [(16, 3.0, 8), (200, 2.0, 8), proof(16, 3.0, 12), proof(200, 3.0, 12), proof(200, 2.0, 12)],
)
def test_a_version_that_takes_longer_a_row_is_found_on_its_ramp(rows, slower, trials):
    """A call costs 50 µs beside 5 µs a row: the canary's part of a call is a fraction of the champion's."""
    kinds, why = ends(Version(), Version(row=slower * 5e-6), trials=trials, seed=3, rows=rows, steps=LONG)
    assert share_of(kinds, "stopped") >= 0.95
    assert {"guardrail_latency"} == set(why)


def test_a_version_that_takes_twice_as_long_is_found_by_calls_of_one_row():
    usual, slower = Version(call=0.0, spread=0.5), Version(call=0.0, row=1e-5, spread=0.5)
    kinds, why = ends(usual, slower, trials=20, seed=4, rows=1, steps=[0.25])
    assert (1.0, {"guardrail_latency"}) == (share_of(kinds, "stopped"), set(why))


@pytest.mark.parametrize(
    ("rows", "trials", "budget"), [(16, 16, 0.0), proof(16, 25, 0.05), proof(200, 25, 0.05)]
)
def test_versions_that_fail_alike_are_sent_back_within_the_budget(rows, trials, budget):
    """Each refuses rows of its own: one in a hundred."""
    champion, canary = Version(refuses=0.01), Version(refuses=0.01, beyond=0.5)
    kinds, _ = ends(champion, canary, trials=trials, seed=5, rows=rows, steps=[0.1], score_shift=None)
    assert share_of(kinds, "stopped") <= budget


def test_a_version_that_fails_more_is_found():
    champion, canary = Version(refuses=0.01), Version(refuses=0.06)
    kinds, why = ends(champion, canary, trials=20, seed=6, rows=16, steps=[0.1])
    assert share_of(kinds, "stopped") >= 0.95
    assert {"guardrail_errors"} <= set(why)
