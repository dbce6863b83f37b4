"""Small data sets and configurations for tests of training."""

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema

LOGISTIC = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}
BOOSTING = {
    "name": "boosting",
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "params": {"max_iter": 20},
}
NUMERIC = ("signal", "noise")
CATEGORICAL = ("colour",)


def learner(problem="binary", *, data=None, candidates=(LOGISTIC,), training=None, **sections):
    """Return a configuration whose target is ``y``."""
    values = {
        "model": "tested",
        "problem": problem,
        "data": {"source": "rows.csv", "target": "y", **(data or {})},
        "training": {"candidates": list(candidates), "folds": 3, "importance_repeats": 2, **(training or {})},
        **sections,
    }
    return parse_model(values, origin="test")


def schema(**roles):
    return Schema(**{"target": "y", "numeric": NUMERIC, "categorical": CATEGORICAL, **roles})


def make_frame(problem="binary", *, n=400, seed=0):
    """Return rows whose outcome follows ``signal`` and ``colour``; ``noise`` says nothing."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "signal": rng.normal(size=n),
            "noise": rng.normal(size=n),
            "colour": rng.choice(["red", "green", "blue"], size=n),
        }
    )
    strength = 2 * frame["signal"] + (frame["colour"] == "red") + rng.normal(scale=0.5, size=n)
    if problem == "binary":
        frame["y"] = np.where(strength > 0.3, "yes", "no")
    elif problem == "multiclass":
        frame["y"] = pd.cut(strength, [-np.inf, -1, 1, np.inf], labels=["low", "mid", "top"]).astype(str)
    elif problem == "regression":
        frame["y"] = strength
    else:
        frame["race"] = np.arange(n) // 8
        frame["y"] = strength.groupby(frame["race"]).rank(ascending=True).sub(5).clip(lower=0)
    return frame


def make_rows(problem="binary", *, n=400, seed=0, timed=True):
    """Return such rows, an hour apart where they have a clock."""
    frame = make_frame(problem, n=n, seed=seed)
    return Rows(frame, np.arange(n) * 3600.0 if timed else None)


def write_model(folder, problem="binary", *, n=900, timed=True, seed=0, **sections):
    """Write rows and a configuration into a folder; return the path of the YAML file."""
    import yaml

    frame = make_frame(problem, n=n, seed=seed)
    data = {"source": "rows.csv", "target": "y"}
    if timed:
        hours = frame["race"] if problem == "ranking" else frame.index
        frame["at"] = (pd.Timestamp("2026-01-01") + pd.to_timedelta(hours, unit="h")).astype(str)
        data["time"] = "at"
    if problem == "ranking":
        data["group"] = "race"
    frame.to_csv(folder / "rows.csv", index=False)
    kind = {"binary": "LogisticRegression", "multiclass": "LogisticRegression"}.get(problem, "Ridge")
    trees = "Classifier" if problem in ("binary", "multiclass") else "Regressor"
    values = {
        "problem": problem,
        "data": data,
        "split": {"min_rows": 50},
        "training": {
            "folds": 3,
            "importance_repeats": 2,
            "candidates": [
                {"name": "linear", "estimator": f"sklearn.linear_model.{kind}"},
                {
                    "name": "trees",
                    "estimator": f"sklearn.tree.DecisionTree{trees}",
                    "params": {"max_depth": 3},
                },
            ],
        },
    }
    for section, changes in sections.items():
        values[section] = {**values.get(section, {}), **changes} if isinstance(changes, dict) else changes
    path = folder / "tested.yaml"
    path.write_text(yaml.safe_dump(values))
    return path
