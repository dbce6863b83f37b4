"""Streams that stay as they are, and streams whose concept turns: for asking whether fresh models pay."""

import numpy as np
import pandas as pd

DAY = 86_400.0
FEATURES = ("a", "b", "c")
STATIONARY = ("independent", "wandering", "cycles", "shocks")
_OLD, _NEW = np.array([1.0, -0.7, 0.5]), np.array([0.5, 0.7, -0.02])


def ageing_stream(seed, *, kind="independent", problem="regression", days=160, a_day=10, turn=0.0):
    """Return rows in clock order and their positions in seconds.

    ``wandering``: the features' daily means are AR(.9), sd 0.5. ``cycles``: a daily and a weekly one, in features and
    outcome. ``shocks``: the outcome's daily level is AR(.9), sd 0.7. ``turn``: angle in radians by which the
    coefficients have turned at the end.
    """
    rng = np.random.default_rng(seed)
    n, day = days * a_day, np.repeat(np.arange(days), a_day)
    positions = np.arange(n) * DAY / a_day
    x = rng.normal(size=(n, len(FEATURES)))
    level = np.zeros(n)
    if kind == "wandering":
        x += 0.5 * wander(rng, days, len(FEATURES))[day]
    if kind == "cycles":
        hour, week = 2 * np.pi * positions / DAY, 2 * np.pi * positions / (7 * DAY)
        x[:, 0] += np.sin(hour)
        x[:, 1] += np.sin(week)
        level = 0.8 * np.sin(week) + 0.5 * np.cos(hour)
    if kind == "shocks":
        level = 0.7 * wander(rng, days, 1)[day, 0]
    across = _NEW - _OLD * (_OLD @ _NEW) / (_OLD @ _OLD)
    across *= np.linalg.norm(_OLD) / np.linalg.norm(across)
    angle = turn * np.linspace(0, 1, n)
    z = (x @ _OLD) * np.cos(angle) + (x @ across) * np.sin(angle) + 0.5 * x[:, 0] * x[:, 1] + level
    frame = pd.DataFrame(x, columns=list(FEATURES))
    frame["y"] = outcome(rng, z, problem)
    return frame, positions


def wander(rng, days, columns):
    """Return AR(.9) of variance 1, shape (days, columns)."""
    steps = rng.normal(size=(days, columns))
    for k in range(1, days):
        steps[k] = 0.9 * steps[k - 1] + np.sqrt(1 - 0.81) * steps[k]
    return steps


def outcome(rng, z, problem):
    if problem == "regression":
        return z + rng.normal(size=len(z))
    return (rng.random(len(z)) < 1 / (1 + np.exp(-z))).astype(int)
