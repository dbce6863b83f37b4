"""Results of a replay made by hand, in the JSON form that its pages read."""

import math
from datetime import UTC, datetime, timedelta

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.performance import Performance
from evergreen.tasks.core.metrics.registry import get_metric
from evergreen.tasks.core.replay.history import Step
from evergreen.tasks.core.replay.results import StepResult, conclude_policy, conclude_replay
from evergreen.tasks.core.verdict import Reason, State

DAY = 86400.0
BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
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
    start, length = (BEGIN.timestamp(), DAY) if clock == "timestamp" else (0.0, 1000.0)
    window = Window(start + place * length, start + (place + 1) * length)
    known = math.isfinite(value)
    return StepResult(
        tick=Step(number=place + 1, until=window.end, at=BEGIN + timedelta(days=place + 1), window=window),
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


def held(code="not_due", message="Nothing asks for a retraining."):
    reason = {"code": code, "message": message, "observed": None, "limit": None}
    return {"outcome": "hold", "reasons": [reason], "causes": [], "next_allowed_at": None}


def started(*causes):
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


def told(*policies, baseline=None, notes=(), clock="timestamp", model="tested"):
    """Return the document of a replay."""
    result = conclude_replay(policies, baseline=baseline, notes=notes).to_dict()
    start = BEGIN.isoformat() if clock == "timestamp" else "0"
    return {**result, "model": model, "start": start, "clock": clock}


def usual(**options):
    """Return four windows of configured (one refused, one promoted retraining), never and every."""
    changes = {
        0: {"decision": held()},
        1: {"decision": held(), "level": "drift"},
        2: {"decision": started(), "state": State.CHAMPION_KEPT, "made": 2},
        3: {"decision": started(), "state": State.PROMOTED, "made": 3},
    }
    return told(
        policy("configured", [0.80, 0.80, 0.84, 0.88], accuracy=0.70, changes=changes),
        policy("never", [0.80, 0.80, 0.78, 0.78], accuracy=0.68),
        policy("every", [0.82, 0.84, 0.86, 0.88], accuracy=0.72, state=State.PROMOTED, made=9),
        **{"baseline": policy("same_as_last", [0.5, 0.5, 0.5, 0.5], accuracy=0.90, version=0), **options},
    )


def found(*, better=True):
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
