"""Small histories to replay: rows every hour whose outcome follows one column, until it follows the other way."""

from itertools import count

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.columns import needed_columns
from evergreen.tasks.core.data.rows import Rows, normalise
from evergreen.tasks.core.replay.history import History
from evergreen.tasks.core.replay.results import conclude_policy, conclude_replay, replay_persistence
from evergreen.tasks.core.replay.run import replay_policy
from evergreen.tasks.core.replay.setup import begin_replay, parse_policies
from tests.support.learning import learner

BEGIN = pd.Timestamp("2025-01-02", tz="UTC")
PER_DAY = 48
KINDS = {
    "binary": "LogisticRegression",
    "regression": "Ridge",
    "ranking": "Ridge",
    "multiclass": "LogisticRegression",
}


def make_frame(problem="binary", *, days=60, seed=0, flip=None, clock="timestamp", label_hours=None):
    """Return rows in clock order; from day ``flip`` on the outcome follows ``x`` the other way round."""
    rng = np.random.default_rng(seed)
    n = days * PER_DAY
    x, z = rng.normal(size=n), rng.normal(size=n)
    way = np.where(np.arange(n) >= (np.inf if flip is None else flip * PER_DAY), -1.0, 1.0)
    strength = 1.5 * way * x + rng.logistic(size=n)
    frame = pd.DataFrame({"x": x, "z": z})
    slot = np.arange(n) // 8 * 8 if problem == "ranking" else np.arange(n)
    seconds = slot * 86400 / PER_DAY
    if clock == "timestamp":
        frame.insert(0, "at", BEGIN + pd.to_timedelta(seconds, unit="s"))
    elif clock == "seconds":
        frame.insert(0, "at", seconds)
    if label_hours is not None:
        frame["known"] = frame["at"] + pd.to_timedelta(rng.uniform(0, label_hours, size=n), unit="h")
    if problem == "binary":
        frame["y"] = (strength > 0).astype(int)
    elif problem == "multiclass":
        frame["y"] = np.select([strength < -0.7, strength < 0.7], ["low", "mid"], "top")
    elif problem == "regression":
        frame["y"] = strength
    else:
        frame["race"] = np.arange(n) // 8
        frame["y"] = frame.assign(s=strength).groupby("race")["s"].rank().sub(5).clip(lower=0)
    return frame


def make_config(problem="binary", *, clock="timestamp", candidates=None, **sections):
    """Return a configuration of windows of two days, judged on the newest eight."""
    rows = clock == "rows"
    span = (lambda days: f"{days * PER_DAY} rows") if rows else (lambda days: f"{days}d")
    data = {
        "clock": clock,
        **({} if rows else {"time": "at"}),
        **({"group": "race"} if problem == "ranking" else {}),
    }
    values = {
        "split": {"min_rows": 50, "holdout": span(7)},
        "evaluation": {"validation_window": span(8)},
        "monitoring": {"window": span(2), "min_rows": 20, "interval": "2d"},
        "retraining": {"window": span(14), "cooldown": "4d", "every": "10d", "back_off": 1.0},
    }
    for section, changes in sections.items():
        values[section] = {**values.get(section, {}), **changes}
    values["data"] = {**data, **values.get("data", {})}
    candidate = {"name": "linear", "estimator": f"sklearn.linear_model.{KINDS[problem]}"}
    return learner(problem, candidates=candidates or (candidate,), **values)


def make_history(frame, config):
    """Return the history of rows as a source would give them."""
    columns = needed_columns(list(frame), config)
    plain = normalise(frame[columns], numeric=config.data.numeric or ())
    if config.data.time is None:
        return History.of(Rows(plain, plain.index.to_numpy(dtype=float)), config)
    at = frame[config.data.time]
    seconds = (at - pd.Timestamp(0, tz="UTC")).dt.total_seconds() if config.data.clock == "timestamp" else at
    return History.of(Rows(plain, seconds.to_numpy(dtype=float)), config)


def begin(frame=None, config=None, *, start=None, **options):
    """Train the first model of a small history as of day ``start`` (default: as a replay chooses)."""
    config = make_config(**options) if config is None else config
    frame = make_frame() if frame is None else frame
    return begin_replay(make_history(frame, config), config, start=start)


def replayed(beginning, policies="configured", **options):
    """Return the result of some policies; seconds are steps of a counter."""
    ticks = count()
    specs = parse_policies(policies, beginning.config)
    return replay_all(beginning, specs, timer=lambda: float(next(ticks)), **options)


def replay_all(beginning, specs, *, timer, full=False):
    """Return the result of policies replayed one after the other, the baseline beside them."""
    metric, clock = beginning.tools.metric(beginning.config), beginning.config.data.clock
    results = [
        conclude_policy(
            spec.name,
            list(replay_policy(beginning, spec, timer=timer, full=full)),
            metric=metric,
            clock=clock,
        )
        for spec in specs
    ]
    return conclude_replay(results, baseline=replay_persistence(beginning), notes=beginning.notes)


def by_name(result):
    """Return the policies of a result by name."""
    return {one.name: one for one in result.policies}


def place_of(day):
    """Return the position of a day's beginning."""
    return BEGIN.timestamp() + day * 86400.0


def decisions(policy):
    """Return all that was decided, without what took time."""
    return policy.to_dict()["decisions"]
