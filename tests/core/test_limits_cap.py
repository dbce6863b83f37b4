"""A past that wanders must not allow for everything: limits of a loss and a metric are held to four times its range."""

import numpy as np

from tasks.core.judging.limits import cap_limits, fit_limits


def fitted(past, *, freedom_lost=0.0, where=True):
    squares = np.full(past.shape[1], 1e-4)
    limits = fit_limits(
        past,
        squared_errors=squares,
        windows=np.full(past.shape[1], 2.0),
        lost=np.full(past.shape[1], freedom_lost),
        levels=np.full(past.shape[1], 1e-5),
        inflation=np.full(past.shape[1], 8.0),
    )
    held = cap_limits(limits, past, squared_errors=squares, where=np.full(past.shape[1], where))
    return [float((one.spread(squares) * one.quantiles())[0]) for one in (limits, held)]


def test_sixteen_windows_that_climb_allow_for_four_times_their_farthest():
    past = np.linspace(-1.0, 1.0, 16)[:, None]
    free, held = fitted(past)
    assert (True, 4.0) == (free > 40.0, round(held, 9))


def test_fewer_windows_and_other_signals_are_left_alone():
    past = np.linspace(-1.0, 1.0, 15)[:, None]
    assert fitted(past)[0] == fitted(past)[1]
    past = np.linspace(-1.0, 1.0, 16)[:, None]
    free, held = fitted(past, where=False)
    assert free == held


def test_a_narrow_limit_stays_as_narrow():
    rng = np.random.default_rng(0)
    past = rng.normal(size=(400, 1))
    free, held = fitted(past)
    assert free == held
