"""Generated data sets: streams whose concept turns, and tables with planted leaks."""

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


PROBLEMS = ("binary", "multiclass", "regression")


def fair_set(seed, *, n=1_500, problem="binary", timed=True, memory=0.0):
    """Return a frame of fair features and the target 'y': noise, categories, lags, one strong measurement."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(4)})
    frame["kind"] = rng.choice(list("abcd"), n)
    frame["store"] = rng.integers(0, 30, n)
    noise = rng.normal(size=n)
    for i in range(1, n):
        noise[i] = memory * noise[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    hidden = frame["x0"] + 0.8 * frame["x1"] + 0.5 * (frame["kind"] == "a") + noise
    frame["y"] = _target(hidden, problem)
    if timed:
        frame.insert(0, "at", pd.date_range("2025-01-01", periods=n, freq="h"))
        frame["lag1"], frame["lag24"] = frame["y"].shift(1), frame["y"].shift(24)
        frame["mean24"] = frame["y"].shift(1).rolling(24, min_periods=1).mean()
    frame["strong"] = hidden + rng.normal(size=n) * hidden.std() * 0.5
    frame["often_zero"] = np.where(rng.random(n) < 0.8, 0.0, rng.exponential(size=n))
    frame["often_null"] = np.where(rng.random(n) < 0.6, np.nan, rng.normal(size=n))
    return frame


def _target(hidden, problem):
    if problem == "binary":
        return (hidden > hidden.quantile(0.7)).astype(int)
    if problem == "multiclass":
        return np.digitize(hidden, hidden.quantile([0.3, 0.6, 0.85]))
    return hidden * 10 + 50


def plant(frame, leak, *, seed=0):
    """Return a copy with a leak, and the names of its columns."""
    rng = np.random.default_rng(1_000 + seed)
    columns = _LEAKS[leak](frame["y"].to_numpy(dtype=float), frame, rng)
    return frame.assign(**columns), set(columns)


def _part(y, rng, *, share=0.5):
    return rng.normal(size=len(y)) * y.std() + share * y


def _two_parts(y, frame, rng):
    part = _part(y, rng)
    return {"leak_a": part, "leak_b": y - part}


def _three_parts(y, frame, rng):
    first, second = _part(y, rng, share=0.3), _part(y, rng, share=0.3)
    return {"leak_a": first, "leak_b": second, "leak_c": y - first - second}


def _before_and_after(y, frame, rng):
    before = rng.normal(size=len(y)) * y.std() * 3 + 100
    return {"leak_a": before, "leak_b": before + y}


def _flipped(y, frame, rng):
    return {"leak": np.where(rng.random(len(y)) < 0.01, rng.permutation(y), y)}


def _filled_for_the_highest(y, frame, rng):
    highest = (y >= np.quantile(y, 0.9)) & (rng.random(len(y)) < 0.6)
    return {"leak": np.where(highest, rng.normal(size=len(y)), np.nan)}


def _ends_later(y, frame, rng):
    start = frame["at"] if "at" in frame else pd.Timestamp("2025-01-01")
    return {"leak": start + pd.to_timedelta(np.abs(y) * 60 + 30, unit="s")}


def _numbered_by_target(y, frame, rng):
    order = np.argsort(np.argsort(y + rng.random(len(y)) * 1e-6))
    return {"leak": 10_000 + order * 7}


_LEAKS = {
    "copy": lambda y, frame, rng: {"leak": y * 3 + 7},
    "copy as text": lambda y, frame, rng: {"leak": [f"v{value:g}" for value in y]},
    "noisy copy": lambda y, frame, rng: {"leak": y + rng.normal(size=len(y)) * y.std() * 0.08},
    "flipped copy": _flipped,
    "monotone copy": lambda y, frame, rng: {"leak": np.exp(y / y.std())},
    "coarse": lambda y, frame, rng: {"leak": (y > np.quantile(y, 0.6)).astype(int)},
    "buckets": lambda y, frame, rng: {"leak": np.digitize(y, np.quantile(y, [0.25, 0.5, 0.75]))},
    "two parts": _two_parts,
    "three parts": _three_parts,
    "before and after": _before_and_after,
    "filled": _filled_for_the_highest,
    "ends later": _ends_later,
    "numbered by target": _numbered_by_target,
}
_COMMON = (
    "copy",
    "noisy copy",
    "two parts",
    "three parts",
    "before and after",
    "filled",
    "numbered by target",
)
LEAKS = {
    "binary": (*_COMMON, "copy as text", "flipped copy", "ends later"),
    "multiclass": (*_COMMON, "copy as text", "flipped copy", "coarse", "ends later"),
    "regression": (*_COMMON, "monotone copy", "coarse", "buckets", "ends later"),
}
"""Kinds of leaks that each problem can have."""


def races(seed, *, groups=150, size=10):
    """Return a ranking: a row a runner, fair ratings, and columns known only after the finish."""
    rng = np.random.default_rng(seed)
    n = groups * size
    race = np.repeat(np.arange(groups), size)
    rating = rng.normal(size=n)
    seconds = 60 + race % 3 * 10 - rating + rng.normal(size=n)
    place = pd.Series(seconds).groupby(race).rank(method="first").to_numpy()
    gone = rng.random(n) < 0.03
    frame = pd.DataFrame(
        {
            "day": pd.Timestamp("2025-01-01") + pd.to_timedelta(race // 5, unit="D"),
            "race": [f"r{number:05d}" for number in race],
            "rating": rating,
            "weight": rng.normal(120, 5, n),
            "jockey": rng.choice([f"j{i}" for i in range(20)], n),
            "distance": 1000.0 + race % 3 * 200,
            "y": np.where(gone, 0, np.clip(5 - place, 0, None)).astype(int),
            "place": np.where(gone, np.nan, place),
            "seconds": np.where(gone, np.nan, seconds),
            "won": ((place == 1) & ~gone).astype(int),
            "result": np.where(gone, rng.choice(["fell", "pulled up"], n), "finished"),
        }
    )
    return frame, {"place", "seconds", "won", "result"}
