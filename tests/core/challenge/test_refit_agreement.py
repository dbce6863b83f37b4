import numpy as np
import pytest

from evergreen.tasks.core.challenge.evidence import judge_agreement, measure_agreement
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.verdict import Outcome

Y = np.array([0, 1, 0, 1, 1])


def binary(score):
    return Scored(y=Y, score=np.asarray(score, dtype=float), classes=(0, 1))


def test_a_monotone_copy_agrees_fully():
    score = np.array([0.1, 0.7, 0.2, 0.9, 0.8])
    assert measure_agreement(binary(score), binary(score**2)) == pytest.approx(1.0)


def test_the_reverse_order_disagrees_fully():
    score = np.array([0.1, 0.7, 0.2, 0.9, 0.8])
    assert measure_agreement(binary(score), binary(1 - score)) == pytest.approx(-1.0)


def test_agreement_of_classes_is_the_share_of_equal_answers():
    three = np.eye(3)
    judged = Scored(y=np.array([0, 1, 2]), score=three, classes=(0, 1, 2))
    refit = Scored(y=np.array([0, 1, 2]), score=three[[0, 1, 1]], classes=(0, 1, 2))
    assert measure_agreement(judged, refit) == pytest.approx(2 / 3)


def test_one_constant_answer_is_undefined_and_fails():
    agreement = measure_agreement(binary([0.1, 0.7, 0.2, 0.9, 0.8]), binary([0.5] * 5))
    assert np.isnan(agreement)
    assert Outcome.FAIL is judge_agreement(agreement, bound=0.7, n=5).outcome


def test_the_bound_itself_passes():
    assert Outcome.PASS is judge_agreement(0.7, bound=0.7, n=5).outcome
