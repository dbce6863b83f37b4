"""Small histories to replay, and results of a replay made by hand."""

import math
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.columns import needed_columns
from evergreen.tasks.core.data.rows import Rows, normalise
from evergreen.tasks.core.drift.performance import Performance
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.replay.history import History, Step
from evergreen.tasks.core.replay.results import (
    StepResult,
    conclude_policy,
    conclude_replay,
    replay_persistence,
)
from evergreen.tasks.core.replay.run import replay_policy
from evergreen.tasks.core.replay.setup import begin_replay, parse_policies
from evergreen.tasks.core.verdict import Reason, State
from tests.support.training_data import add_outcome, merged, model_config

BEGIN = pd.Timestamp("2025-01-02", tz="UTC")
PER_DAY = 48


def history_frame(problem="binary", *, days=60, seed=0, flip=None, clock="timestamp", label_hours=None):
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
    return add_outcome(frame, strength, problem, limit=0.0, cuts=(-0.7, 0.7), labels=(0, 1))


def replay_config(problem="binary", *, clock="timestamp", candidates=None, **sections):
    """Return a configuration of windows of two days, judged on the newest eight."""
    rows = clock == "rows"
    span = (lambda days: f"{days * PER_DAY} rows") if rows else (lambda days: f"{days}d")
    values = {
        "data": {"clock": clock, **({} if rows else {"time": "at"})},
        "split": {"min_rows": 50, "holdout": span(7)},
        "evaluation": {"validation_window": span(8)},
        "monitoring": {"window": span(2), "min_rows": 20, "interval": "2d"},
        "retraining": {"window": span(14), "cooldown": "4d", "every": "10d", "back_off": 1.0},
    }
    return model_config(problem, candidates=candidates or (), **merged(values, sections))


def make_history(frame, config):
    columns = needed_columns(list(frame), config)
    plain = normalise(frame[columns], numeric=config.data.numeric or ())
    if config.data.time is None:
        return History.of(Rows(plain, plain.index.to_numpy(dtype=float)), config)
    at = frame[config.data.time]
    seconds = (at - pd.Timestamp(0, tz="UTC")).dt.total_seconds() if config.data.clock == "timestamp" else at
    return History.of(Rows(plain, seconds.to_numpy(dtype=float)), config)


def begin_small(frame=None, config=None, *, start=None, **options):
    """Train the first model of a small history as of day ``start`` (default: as a replay chooses)."""
    config = replay_config(**options) if config is None else config
    frame = history_frame() if frame is None else frame
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
    return {one.name: one for one in result.policies}


def place_of(day):
    return BEGIN.timestamp() + day * 86400.0


def decisions(policy):
    """Return all that was decided, without what took time."""
    return policy.to_dict()["decisions"]


DAY = 86400.0
RESULTS_BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
PROBLEMS = {"rmse": "regression", "roc_auc": "binary", "accuracy": "binary"}
CAUSE = {"trigger": "data", "name": "age", "said": "age moved"}


def step(
    place,
    value,
    *,
    metric="roc_auc",
    clock="timestamp",
    accuracy=None,
    version=1,
    level="quiet",
    state=None,
    decision=None,
    made=None,
    seconds=0.5,
    spread=0.1,
):
    start, length = (RESULTS_BEGIN.timestamp(), DAY) if clock == "timestamp" else (0.0, 1000.0)
    window = Window(start + place * length, start + (place + 1) * length)
    known = math.isfinite(value)
    return StepResult(
        step=Step(
            number=place + 1, until=window.end, at=RESULTS_BEGIN + timedelta(days=place + 1), window=window
        ),
        version=version,
        performance=Performance(
            metric=metric,
            value=value,
            n=500 if known else 0,
            level=0.95,
            **({"low": value - spread, "high": value + spread} if known else {}),
        ),
        accuracy=accuracy,
        levels={"data": level},
        alarms=int(level == "drift"),
        state=state,
        made=made,
        decision=decision,
        seconds=seconds,
    )


def hold_decision(code="not_due", message="Nothing asks for a retraining."):
    reason = {"code": code, "message": message, "observed": None, "limit": None}
    return {"outcome": "hold", "reasons": [reason], "causes": [], "next_allowed_at": None}


def start_decision(*causes):
    reason = {"code": "data", "message": "age moved.", "observed": None, "limit": None}
    return {
        "outcome": "start",
        "reasons": [reason],
        "causes": list(causes or [CAUSE]),
        "next_allowed_at": None,
    }


def policy(name, values, *, metric="roc_auc", clock="timestamp", changes=None, **options):
    """Return a policy of these values by window; ``changes`` are options of single windows."""
    steps = [
        step(place, value, metric=metric, clock=clock, **{**options, **(changes or {}).get(place, {})})
        for place, value in enumerate(values)
    ]
    return conclude_policy(name, steps, metric=get_metric(metric, problem=PROBLEMS[metric]), clock=clock)


def replay_document(*policies, baseline=None, notes=(), clock="timestamp", model="tested"):
    result = conclude_replay(policies, baseline=baseline, notes=notes).to_dict()
    start = RESULTS_BEGIN.isoformat() if clock == "timestamp" else "0"
    return {**result, "model": model, "start": start, "clock": clock}


def usual_document(**options):
    """Return four windows of configured (one refused, one promoted retraining), never and every."""
    changes = {
        0: {"decision": hold_decision()},
        1: {"decision": hold_decision(), "level": "drift"},
        2: {"decision": start_decision(), "state": State.CHAMPION_KEPT, "made": 2},
        3: {"decision": start_decision(), "state": State.PROMOTED, "made": 3},
    }
    return replay_document(
        policy("configured", [0.80, 0.80, 0.84, 0.88], accuracy=0.70, changes=changes),
        policy("never", [0.80, 0.80, 0.78, 0.78], accuracy=0.68),
        policy("every", [0.82, 0.84, 0.86, 0.88], accuracy=0.72, state=State.PROMOTED, made=9),
        **{"baseline": policy("same_as_last", [0.5, 0.5, 0.5, 0.5], accuracy=0.90, version=0), **options},
    )


def search_document(*, better=True):
    """Return the document of a search whose two chosen settings were confirmed."""
    overlay = {"retraining": {"every": "6d"}}

    def one(name, mean, retrainings):
        plain = policy(name, [mean, mean]).summary()
        return {**plain, "retrainings": retrainings}

    later = {"trial-1": one("trial-1", 0.83, 2), "trial-2": one("trial-2", 0.86 if better else 0.79, 4)}
    unseen = [*later.values(), one("configured", 0.84, 5), one("never", 0.78, 0)]
    chosen = [
        {
            "policy": name,
            "overlay": overlay,
            "yaml": f"retraining:\n  every: {days}d\n",
            "first_part": one(name, mean, days),
            "unseen_part": later[name],
        }
        for name, mean, days in (("trial-1", 0.81, 3), ("trial-2", 0.87, 6))
    ]
    tried = {"trial-1": (0.81, 3), "trial-2": (0.87, 6), "trial-3": (0.80, 7)}
    trials = [{**one(name, *numbers), "overlay": overlay} for name, numbers in tried.items()]
    trials.append({**one("configured", 0.82, 5), "overlay": None})
    return {
        "trials": trials,
        "front": ["trial-1", "trial-2"],
        "unseen_from": "2025-03-01T00:00:00+00:00",
        "chosen": chosen,
        "unseen": unseen,
    }


NOTE = Reason(
    code="first_model_refused", message="The first model ended ChampionKept and is deployed all the same."
)
