"""Versions to serve, trained on small made-up rows by the project's own pipelines."""

import numpy as np
import pandas as pd

from evergreen.tasks.core.data.rows import Rows, SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.serving.answers import RequestLimits
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.training.features import class_labels, outcomes
from evergreen.tasks.core.training.fitting import fit_candidate
from evergreen.tasks.core.training.scoring import Recipe, Scorer, Threshold
from evergreen.tasks.core.training.training import with_threshold
from tests.support.learning import learner

NUMBERS, CATEGORIES = ("a", "b", "c"), ("colour", "grade")
LIMITS = RequestLimits()
COLOURS = ["red", "green", "blue", "plum"]


def served_frame(problem="binary", *, n=400, seed=0):
    """Return rows with missing values, text categories and categories that are numbers."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "b": rng.normal(size=n) * 100 + 7,
            "c": rng.integers(0, 5, size=n).astype(float),
            "colour": rng.choice(COLOURS, size=n),
            "grade": rng.choice(np.array([1, 2, 3, True, 7], dtype=object), size=n),
        }
    )
    frame.loc[rng.random(n) < 0.1, "a"] = np.nan
    frame.loc[rng.random(n) < 0.1, "colour"] = None
    strength = frame["a"].fillna(0.5) + frame["b"] / 100 + (frame["colour"] == "red") - (frame["c"] == 2)
    strength += rng.normal(scale=0.3, size=n)
    if problem == "binary":
        frame["y"] = np.where(strength > 0, "yes", "no")
    elif problem == "multiclass":
        frame["y"] = pd.cut(strength, [-np.inf, -1, 1, np.inf], labels=["low", "mid", "top"]).astype(str)
    else:
        frame["y"] = np.exp(strength / 3)
    return frame


def train(
    path,
    problem="binary",
    *,
    params=None,
    n=400,
    numeric=NUMBERS,
    categorical=CATEGORIES,
    threshold=0.4,
    data=None,
    **candidate,
):
    """Return a version as `evergreen.tasks.core.learning` trains it, and its configuration."""
    chosen = {"name": "tested", "estimator": path, "params": params or {}, **candidate}
    config = learner(problem, candidates=(chosen,), data=data)
    schema = Schema(target="y", numeric=numeric, categorical=categorical)
    frame = served_frame(problem, n=n)
    rows = Rows(frame, np.arange(n) * 3600.0)
    classes = class_labels(outcomes(frame, schema, config), config)
    model = fit_candidate(config.training.candidates[0], rows, schema=schema, config=config)
    cut = Threshold(value=threshold if problem == "binary" else 0.5, method="fixed")
    recipe = Recipe(problem=problem, candidate=config.training.candidates[0], classes=classes, threshold=cut)
    estimator = with_threshold(model, cut, classes=classes)
    return Scorer(estimator=estimator, schema=schema, plan=plan(), recipe=recipe), config


def plan():
    """Return a plan; serving does not look at it."""
    return SplitPlan.__new__(SplitPlan)


def batch_of(frame, signature):
    """Return rows of a frame as a batch."""
    numbers = [column.name for column in signature.numbers]
    texts = [column.name for column in signature.texts]
    return Batch(
        signature=signature,
        n=len(frame),
        numbers=frame[numbers].to_numpy(dtype=np.float64).reshape(len(frame), len(numbers)),
        texts=tuple([None if pd.isna(value) else value for value in frame[name]] for name in texts),
    )
