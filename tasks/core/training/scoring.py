"""From an estimator and rows to scores, thresholds and labels; the recipe and tags that a version keeps of them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import Array, FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.evaluation import CostThreshold
from evergreen.tasks.core.config.training import Candidate
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.data.rows import Rows, SplitPlan
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import DataError, NotLearnable
from evergreen.tasks.core.metrics.scored import Classes, Scored
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.training.features import ModelSpec, answer, feature_frame, group_codes, outcomes


def score_rows(estimator: Any, rows: Rows, spec: ModelSpec, *, threshold: float = 0.5) -> Scored:
    """Score labelled rows.

    Parameters
    ----------
    estimator : object
        Fitted; anything `evergreen.tasks.core.training.features.answer` understands.
    rows : Rows
        Rows with features and target, in any order of columns.
    spec : ModelSpec
        The version's own schema and classes, and the model's configuration.
    threshold : float
        Decision threshold on P(positive) (binary).

    Raises
    ------
    DataError
        When a column is missing or the answer cannot be read.
    """
    if rows.frame.empty:
        return frame_scores(rows, np.zeros((0,)), spec)
    features = feature_frame(rows.frame, spec.schema)
    score = answer(estimator, features, problem=spec.config.problem.value, classes=spec.classes)
    return frame_scores(rows, score, spec, threshold=threshold)


def frame_scores(rows: Rows, score: FloatArray, spec: ModelSpec, *, threshold: float = 0.5) -> Scored:
    """Join scores with the rows' outcome, group, value and clock, in the roles the configuration gives now.

    Raises
    ------
    DataError
        When ``data.value_column`` names a column that is missing.
    """
    config, classes = spec.config, spec.classes
    schema = spec.schema.with_roles_of(config)
    if schema.value is not None and schema.value not in rows.frame.columns:
        raise DataError(f"Missing column '{schema.value}'. Add it to the data, or correct data.value_column.")
    label = decide_labels(score, classes=classes, threshold=threshold)
    if config.problem == "binary":
        score, classes = towards_positive(score, classes, config)
    return Scored(
        y=outcomes(rows.frame, schema, config),
        score=score,
        label=label,
        classes=classes,
        positive_class=classes[1] if config.problem == "binary" else None,
        group=group_codes(rows.frame, schema) if config.problem == "ranking" else None,
        value=None if schema.value is None else rows.frame[schema.value].to_numpy(dtype=np.float64),
        positions=rows.positions,
    )


def decide_labels(score: FloatArray, *, classes: Classes, threshold: float) -> Array | None:
    """Turn scores into classes: P(positive) >= threshold, or the most likely one; None without classes."""
    if not classes:
        return None
    names = np.asarray(classes)
    if score.ndim == 1:
        return names[(score >= threshold).astype(np.int64)]
    return names[score.argmax(axis=1)]


def decided_by(scored: Scored, threshold: float) -> Scored:
    """Return scores with the labels that a threshold on P(positive) gives; unchanged unless there are two classes."""
    if scored.score is None or len(scored.classes) != 2:
        return scored
    return replace(scored, label=decide_labels(scored.score, classes=scored.classes, threshold=threshold))


def is_turned(classes: Classes, config: ModelConfig) -> bool:
    """Tell whether a version was trained with the other class as the positive one (binary).

    Raises
    ------
    NotLearnable
        ``classes_changed``: the configuration's positive class is none of the version's.
    """
    positive = config.data.positive_class
    positive = max(classes) if positive is None else positive
    if positive not in classes:
        message = (
            f"data.positive_class {positive!r} is unknown to a version that learned the classes "
            f"{', '.join(map(repr, classes))}. Train a new version, or restore data.positive_class."
        )
        raise NotLearnable("classes_changed", message, observed=str(positive))
    return bool(positive != classes[1])


def towards_positive(score: FloatArray, classes: Classes, config: ModelConfig) -> tuple[FloatArray, Classes]:
    """Return P(positive) and its classes, turned where a version was trained with the other class as positive."""
    return (1.0 - score, classes[::-1]) if is_turned(classes, config) else (score, classes)


# The decision threshold on P(positive): fixed, the cheapest on the holdout, or the best F1 there.


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A decision threshold: positive when P(positive) >= ``value``."""

    value: float
    """The threshold."""
    method: str
    """``fixed``, ``cost`` or ``f1``."""
    objective: float | None = None
    """Cost per row, or F1, on the rows it was chosen on; None when fixed."""
    n: int | None = None
    """Rows it was chosen on; None when fixed."""


def choose_threshold(scored: Scored | None, wanted: float | CostThreshold | str) -> Threshold:
    """Choose the threshold.

    Parameters
    ----------
    scored : Scored | None
        Rows of the holdout with probabilities of the positive class; ignored when fixed.
    wanted : float, CostThreshold or 'auto'
        ``evaluation.threshold``.

    Notes
    -----
    Every distinct score is tried at once: with rows in falling order of score, the first i rows are called
    positive. Of equally good thresholds the highest is taken (fewest alarms). The value lies midway to the next
    lower score, so that a score off by rounding falls on the same side. Rows are needed of both classes; without
    them 0.5 stays.
    """
    if isinstance(wanted, float | int):
        return Threshold(value=float(wanted), method="fixed")
    if scored is None or len(scored) == 0 or scored.truth.all() or not scored.truth.any():
        return Threshold(value=0.5, method="fixed")
    cuts, hits, alarms = _cuts(scored)
    positives = int(scored.truth.sum())
    if isinstance(wanted, CostThreshold):
        cost = wanted.false_positive * (alarms - hits) + wanted.false_negative * (positives - hits)
        best = int(np.argmin(cost))
        method, objective = "cost", float(cost[best] / len(scored))
    else:
        f1 = 2 * hits / (alarms + positives)
        best = int(np.argmax(f1))
        method, objective = "f1", float(f1[best])
    return Threshold(value=float(cuts[best]), method=method, objective=objective, n=len(scored))


def _cuts(scored: Scored) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return thresholds from 'none positive' to 'all positive', and hits and alarms at each."""
    score = scored.positive_score
    order = np.argsort(-score, kind="stable")
    ordered, truth = score[order], scored.truth[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    hits = np.r_[0.0, np.cumsum(truth)[last]]
    alarms = np.r_[0.0, last + 1.0]
    above = np.r_[np.nextafter(1.0, 2.0), ordered[last]]
    below = np.r_[ordered[0], ordered[last][1:], 0.0]
    middle = (above + below) / 2
    return np.where(middle > below, middle, above), hits, alarms


# The recipe of a version: all that is needed to score with it as it was judged, and to fit it again.


HALF = Threshold(value=0.5, method="fixed")


@dataclass(frozen=True, kw_only=True)
class Recipe(Struct):
    """How a version was trained and how its scores become decisions."""

    problem: str
    """Kind of problem."""
    candidate: Candidate | None
    """The recipe that won; None for a model trained elsewhere."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Parameters a search found."""
    classes: Classes = ()
    """(negative, positive) for binary, all classes for multiclass, else empty."""
    threshold: Threshold = HALF
    """The decision threshold."""
    config_digest: str = ""
    """Of the whole configuration at training time."""


def config_digest(config: ModelConfig) -> str:
    """Return a short hash of a configuration's values."""
    text = json.dumps(config.model_dump(mode="json"), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# A version that can score: its estimator with what is needed to read its answers.


@dataclass(frozen=True, kw_only=True, eq=False)
class Scorer:
    """A fitted model and how it was trained, wherever it is stored."""

    estimator: Any
    """A scikit-learn estimator, or a foreign model with ``predict``."""
    schema: Schema
    plan: SplitPlan
    recipe: Recipe
    """Its columns; the rows it was trained on; classes, threshold and how to fit it again."""

    @property
    def classes(self) -> Classes:
        """(negative, positive) for binary, all classes for multiclass, else empty."""
        return self.recipe.classes

    @property
    def threshold(self) -> float:
        """Decision threshold on P(positive)."""
        return self.recipe.threshold.value

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns it was trained on, and those that identify rows of a random split."""
        return (*self.schema.features, *self.plan.identity)

    def score(self, rows: Rows, *, config: ModelConfig) -> Scored:
        """Score labelled rows with the version's own schema, classes and threshold."""
        spec = ModelSpec(self.schema, config, self.classes)
        return score_rows(self.estimator, rows, spec, threshold=self.threshold)


# Tags of a version: the rows it was trained on, and why.


def version_tags(
    plan: SplitPlan, training: Rows, *, trigger: str, fingerprint: str | None = None
) -> dict[str, str]:
    """Return tags for a version and its run.

    Parameters
    ----------
    plan : SplitPlan
        How the rows were divided.
    training : Rows
        Rows it was trained on.
    trigger : str
        What asked for the training: ``manual``, ``schedule``, ``drift``, …
    fingerprint : str, optional
        Of all rows used, where it is known; default: of the training rows.
    """
    tags = {
        "evergreen.trigger": trigger,
        "evergreen.split": plan.method,
        "evergreen.data_fingerprint": fingerprint or training.fingerprint,
        "evergreen.training_rows": str(len(training)),
    }
    if plan.training is not None:
        if math.isfinite(plan.training.start):
            tags["evergreen.trained_from"] = format_position(plan.training.start, clock=plan.clock)
        tags["evergreen.trained_to"] = format_position(plan.training.end, clock=plan.clock)
    return tags
