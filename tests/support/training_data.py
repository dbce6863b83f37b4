"""Small data sets, configurations, estimators and gate contexts for tests of training."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import yaml
from sklearn.base import BaseEstimator, RegressorMixin

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.metrics.registry import metrics_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.validation.gate import GateContext

BOOSTING = {
    "name": "boosting",
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "params": {"max_iter": 20},
}
NUMERIC = ("signal", "noise")
CATEGORICAL = ("colour",)


def linear(problem="binary", name="linear"):
    """Return a linear candidate."""
    kind = "LogisticRegression" if problem in ("binary", "multiclass") else "Ridge"
    return {"name": name, "estimator": f"sklearn.linear_model.{kind}"}


def merged(values, sections):
    """Return a configuration's values with the changes of some sections."""
    changed = {
        name: {**values.get(name, {}), **changes} if isinstance(changes, dict) else changes
        for name, changes in sections.items()
    }
    return {**values, **changed}


def model_config(problem="binary", *, data=None, candidates=(), training=None, **sections):
    """Return a configuration whose target is ``y``; the group of a ranking is ``race``."""
    group = {"group": "race"} if problem == "ranking" else {}
    chosen = list(candidates) or [linear(problem)]
    values = {
        "model": "tested",
        "problem": problem,
        "data": {"source": "rows.csv", "target": "y", **group, **(data or {})},
        "training": {"candidates": chosen, "folds": 3, "importance_repeats": 2, **(training or {})},
        **sections,
    }
    return parse_model(values, origin="test")


def write_yaml(folder, frame, values):
    """Write rows and configuration into a folder; return the path of the YAML file."""
    frame.to_csv(folder / "rows.csv", index=False)
    path = folder / "tested.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def add_outcome(frame, strength, problem, *, limit=0.3, cuts=(-1, 1), labels=("no", "yes")):
    """Add the outcome ``y``, which follows ``strength``; a ranking has races of eight."""
    if problem == "binary":
        frame["y"] = np.where(strength > limit, labels[1], labels[0])
    elif problem == "multiclass":
        frame["y"] = np.array(["low", "mid", "top"], dtype=object)[np.digitize(strength, cuts)]
    elif problem == "regression":
        frame["y"] = strength
    else:
        frame["race"] = np.arange(len(frame)) // 8
        frame["y"] = pd.Series(np.asarray(strength)).groupby(frame["race"]).rank().sub(5).clip(lower=0)
    return frame


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
    return add_outcome(frame, strength, problem)


def make_rows(problem="binary", *, n=400, seed=0, timed=True):
    """Return such rows, an hour apart where they have a clock."""
    frame = make_frame(problem, n=n, seed=seed)
    return Rows(frame, np.arange(n) * 3600.0 if timed else None)


def write_model(folder, problem="binary", *, n=900, timed=True, seed=0, **sections):
    """Write rows and a configuration into a folder; return the path of the YAML file."""
    frame = make_frame(problem, n=n, seed=seed)
    data = {"source": "rows.csv", "target": "y"}
    if timed:
        hours = frame["race"] if problem == "ranking" else frame.index
        frame["at"] = (pd.Timestamp("2026-01-01") + pd.to_timedelta(hours, unit="h")).astype(str)
        data["time"] = "at"
    if problem == "ranking":
        data["group"] = "race"
    kind = "Classifier" if problem in ("binary", "multiclass") else "Regressor"
    trees = {"name": "trees", "estimator": f"sklearn.tree.DecisionTree{kind}", "params": {"max_depth": 3}}
    values = {
        "problem": problem,
        "data": data,
        "split": {"min_rows": 50},
        "training": {"folds": 3, "importance_repeats": 2, "candidates": [linear(problem), trees]},
    }
    return write_yaml(folder, frame, merged(values, sections))


def setup_of(config, base):
    """Return a set-up without stores."""
    return SimpleNamespace(config=config, base=base, model=config.model)


def binary_scored(n=400, *, strength=2.0, seed=0, timed=False):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    probability = 1 / (1 + np.exp(-strength * x))
    y = (rng.random(n) < probability).astype(int)
    positions = np.arange(n) * 3600.0 if timed else None
    label = (probability >= 0.5).astype(int)
    return x, Scored(
        y=y, score=probability, label=label, classes=(0, 1), positive_class=1, positions=positions
    )


def constant_answers(scored):
    share = float(np.mean(scored.y))
    return replace(scored, score=np.full(len(scored), share), label=np.full(len(scored), int(share >= 0.5)))


def binary_context(n=400, *, strength=2.0, seed=0, config=None, columns=None, timed=False):
    config = config or model_config()
    x, scored = binary_scored(n, strength=strength, seed=seed, timed=timed)
    noise = np.random.default_rng(seed + 1).normal(size=n)
    frame = pd.DataFrame({"x": x + noise, "z": noise, "y": scored.y, **(columns or {})})
    return GateContext(
        config=config,
        schema=Schema(target="y", numeric=("x", "z")),
        version=3,
        holdout=Rows(frame, scored.positions),
        scored=scored,
        baselines={"constant": constant_answers(scored)},
        metrics=metrics_of(config),
        windows={"holdout": frame},
    )


class Median(RegressorMixin, BaseEstimator):
    """Answers the median of what it learned."""

    def __init__(self, shift=0.0):
        self.shift = shift

    def fit(self, features, y):
        self.median_ = float(np.median(y))
        self.n_features_in_ = np.shape(features)[1]
        return self

    def predict(self, features):
        return np.full(len(features), self.median_ + self.shift)


def share_of_hits(scored):
    """Return the share of positives that are called."""
    return float(scored.says_positive[scored.truth].mean())


NOT_A_FUNCTION = 3
