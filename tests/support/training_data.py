"""Small data sets, configurations, estimators and gate contexts for tests of training."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, RegressorMixin

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.metrics.registry import metrics_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.validation.gate import GateContext

LOGISTIC = {"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}
BOOSTING = {
    "name": "boosting",
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "params": {"max_iter": 20},
}
NUMERIC = ("signal", "noise")
CATEGORICAL = ("colour",)


def model_config(problem="binary", *, data=None, candidates=(LOGISTIC,), training=None, **sections):
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


CANDIDATES = [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}]


def data_model(problem="binary", *, data=None, **sections):
    """Return a model whose target is ``y`` and whose source is ``rows.csv`` unless said otherwise."""
    values = {
        "model": "tested",
        "problem": problem,
        "data": {"source": "rows.csv", "target": "y", **(data or {})},
        "training": {"candidates": CANDIDATES},
        **sections,
    }
    return parse_model(values, origin="test")


def setup_of(config, base):
    """Return a set-up without stores."""
    return SimpleNamespace(config=config, base=base, model=config.model)


ESTIMATORS = {
    "binary": "sklearn.linear_model.LogisticRegression",
    "multiclass": "sklearn.linear_model.LogisticRegression",
    "regression": "sklearn.linear_model.Ridge",
    "ranking": "sklearn.linear_model.Ridge",
}


def gate_config(problem="binary", **sections):
    data = {"source": "rows.csv", "target": "y", **sections.pop("data", {})}
    if problem == "ranking":
        data.setdefault("group", "race")
    candidates = [{"name": "simple", "estimator": ESTIMATORS[problem]}]
    values = {"model": "case", "problem": problem, "data": data, **sections}
    return parse_model(
        {**values, "training": {"candidates": candidates, **sections.get("training", {})}}, origin="case"
    )


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
    config = config or gate_config()
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
