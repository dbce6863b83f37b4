"""The decision threshold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from evergreen.tasks.core.config.evaluation import CostThreshold
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.training.scoring import choose_threshold


def scored(y, score):
    return Scored(y=np.asarray(y), score=np.asarray(score, dtype=float), classes=(0, 1), positive_class=1)


def cost_at(y, score, cut, *, alarm, miss):
    called = np.asarray(score) >= cut
    return float(
        alarm * (called & (np.asarray(y) == 0)).sum() + miss * (~called & (np.asarray(y) == 1)).sum()
    )


def test_a_fixed_threshold_looks_at_no_rows():
    assert (0.3, "fixed") == (choose_threshold(None, 0.3).value, choose_threshold(None, 0.3).method)


def test_the_cheapest_threshold_by_hand():
    # calling the upper two: no alarm, no miss, cost 0; the cut lies midway between .4 and .6
    found = choose_threshold(
        scored([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]), CostThreshold(false_positive=1, false_negative=1)
    )
    assert (0.5, 0.0, "cost", 4) == (found.value, found.objective, found.method, found.n)


def test_costly_misses_lower_the_threshold_and_costly_alarms_raise_it():
    rng = np.random.default_rng(0)
    score = rng.random(2000)
    rows = scored((rng.random(2000) < score).astype(int), score)
    misses = choose_threshold(rows, CostThreshold(false_positive=1, false_negative=4))
    alarms = choose_threshold(rows, CostThreshold(false_positive=4, false_negative=1))
    # calibrated scores: the best cut is alarm / (alarm + miss) (Elkan 2001)
    assert 0.2 == pytest.approx(misses.value, abs=0.08)
    assert 0.8 == pytest.approx(alarms.value, abs=0.08)


def test_alarms_that_cost_more_than_any_hit_call_nobody():
    rows = scored([0, 1, 0], [0.9, 0.5, 0.1])
    found = choose_threshold(rows, CostThreshold(false_positive=10, false_negative=0))
    assert not (rows.positive_score >= found.value).any()


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=30),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_no_threshold_is_cheaper_than_the_chosen_one(rows, alarm, miss):
    y, score = np.array([int(r[0]) for r in rows]), np.array([r[1] / 8 for r in rows])
    if len(set(y)) < 2:
        return
    found = choose_threshold(scored(y, score), CostThreshold(false_positive=alarm, false_negative=miss))
    cheapest = min(cost_at(y, score, cut, alarm=alarm, miss=miss) for cut in [*score, 2.0])
    assert cheapest == cost_at(y, score, found.value, alarm=alarm, miss=miss)
    assert cheapest / len(y) == pytest.approx(found.objective)


def test_auto_finds_the_best_f1():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 300)
    score = np.clip(y * 0.3 + rng.random(300) * 0.7, 0, 1)
    found = choose_threshold(scored(y, score), "auto")
    best = max(f1_score(y, score >= cut) for cut in score)
    assert best == pytest.approx(found.objective)
    assert best == pytest.approx(f1_score(y, score >= found.value))


@pytest.mark.parametrize("y", [[], [1, 1], [0, 0]])
def test_without_both_classes_the_threshold_stays_in_the_middle(y):
    assert 0.5 == choose_threshold(scored(y, [0.2] * len(y)), "auto").value
