"""Cases for the gate's tests: configurations, rows and contexts without any store."""

from dataclasses import replace

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import parse_model
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.metrics.registry import metrics_of
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.validation.gate import GateContext

ESTIMATORS = {
    "binary": "sklearn.linear_model.LogisticRegression",
    "multiclass": "sklearn.linear_model.LogisticRegression",
    "regression": "sklearn.linear_model.Ridge",
    "ranking": "sklearn.linear_model.Ridge",
}


def make_config(problem="binary", **sections):
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
    config = config or make_config()
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
