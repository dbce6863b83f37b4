"""A past that wanders must not allow for everything: how the limits of a loss and a metric are held."""

import numpy as np
import pytest

from evergreen.tasks.core.drift.thresholds import cap_limits, fit_limits


def fitted(past, *, usual=100.0, side=1):
    """Return the limit of one signal before and after it is held."""
    squares = np.full(1, 1e-4)
    limits = fit_limits(
        past,
        squared_errors=squares,
        windows=np.full(1, 2.0),
        lost=np.zeros(1),
        levels=np.full(1, 1e-5),
        inflation=np.full(1, 8.0),
    )
    held = cap_limits(limits, past, squared_errors=squares, usual=np.full(1, usual), sides=np.full(1, side))
    return [float((one.spread(squares) * one.quantiles())[0]) for one in (limits, held)]


def climb(windows):
    return np.linspace(-1.0, 1.0, windows)[:, None]


def test_sixteen_windows_that_climb_allow_for_four_times_their_farthest():
    free, held = fitted(climb(16))
    assert (True, 4.0) == (free > 40.0, round(held, 9))


@pytest.mark.parametrize(("side", "usual", "limit"), [(1, 2.0, 2.0), (-1, 4.0, 2.0), (1, 0.1, 1.5)])
def test_a_model_half_as_good_moved_unless_its_past_was_nearly_as_far(side, usual, limit):
    assert limit == pytest.approx(fitted(climb(16), usual=usual, side=side)[1])
    assert limit == pytest.approx(fitted(climb(10), usual=usual, side=side)[1])


def test_nine_windows_and_signals_without_a_worse_side_are_left_alone():
    free, held = fitted(climb(9))
    assert free == held
    free, held = fitted(climb(16), side=0)
    assert free == held


def test_a_narrow_limit_stays_as_narrow():
    past = np.random.default_rng(0).normal(size=(400, 1))
    free, held = fitted(past)
    assert free == held
