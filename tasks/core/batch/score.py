"""Score a part of a batch: ids from the rows' identity, scores, decisions, and the table they are written as."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.data.rowhash import hash_rows
from tasks.core.data.rows import Rows
from tasks.core.errors import DataError
from tasks.core.learning.answers import answer
from tasks.core.learning.features import feature_frame
from tasks.core.learning.scorer import Scorer
from tasks.core.learning.scoring import decide_labels, towards_positive
from tasks.core.metrics.scored import FloatArray

POSITION = "@position"


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredPart:
    """Predictions for some rows.

    Attributes
    ----------
    frame : DataFrame, shape (n, …)
        The rows as read.
    features : DataFrame, shape (n, p)
        What the version was asked: numbers as floats, categories as they are.
    positions : array, shape (n,)
        Their places on the clock.
    ids : list of str
        Prediction ids.
    scores : array, shape (n,) or (n, k)
        P(positive), probabilities, or predictions.
    decisions : list
        A class, or the prediction.
    classes : tuple
        Classes of the columns of ``scores``; empty without classes.
    """

    frame: pd.DataFrame
    features: pd.DataFrame
    positions: FloatArray
    ids: list[str]
    scores: FloatArray
    decisions: list[Any]
    classes: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def logged_features(self) -> list[dict[str, Any]]:
        """Features as the prediction log has them: missing ones None, and 1.0 of a category the same as 1."""
        names = [str(name) for name in self.features]
        columns = [[_plain(value) for value in self.features[name].tolist()] for name in self.features]
        numbers = [self.features[name].dtype.kind == "f" for name in self.features]
        told = [
            column if number else [_whole(value) for value in column]
            for column, number in zip(columns, numbers, strict=True)
        ]
        return [dict(zip(names, row, strict=True)) for row in zip(*told, strict=True)]

    @property
    def logged_scores(self) -> list[Any]:
        """Scores as the prediction log has them: a number, or one a class."""
        if self.scores.ndim == 1:
            return list(self.scores.tolist())
        names = [str(label) for label in self.classes]
        return [dict(zip(names, row, strict=True)) for row in self.scores.tolist()]


def prediction_ids(frame: pd.DataFrame, positions: FloatArray, *, model: str, version: int) -> list[str]:
    """Return ids that come from what a row is: model, version, position, and content of the columns given.

    The same row scored again by the same version has the same id, in whatever order, part or file format it comes;
    rows that are equal in all of this are one prediction.

    Parameters
    ----------
    frame : DataFrame, shape (n, p)
        Columns that identify a row: features, entity, what is kept. The outcome is none of them.
    positions : array, shape (n,)
        Places on the clock.
    """
    content = frame.assign(**{POSITION: positions})
    first, second = hash_rows(content, seed=1), hash_rows(content, seed=2)
    scorer = hashlib.blake2b(f"{model}\0{version}".encode(), digest_size=6).hexdigest()
    return [f"b-{scorer}-{a:016x}{b:016x}" for a, b in zip(first.tolist(), second.tolist(), strict=True)]


def score_part(scorer: Scorer, part: Rows, ids: list[str], *, config: ModelConfig) -> ScoredPart:
    """Score rows by the version's own columns, classes and threshold.

    Scores are rounded to 12 significant digits: the last bits of a linear model depend on how many rows are scored at
    once, and a repeated prediction must be the same.

    Raises
    ------
    DataError
        When a feature is missing or holds what it must not, or a score is not finite.
    """
    features = feature_frame(part.frame, scorer.schema)
    scores = answer(scorer.estimator, features, problem=config.problem.value, classes=scorer.classes)
    scores = _steady(scores)
    labels = decide_labels(scores, classes=scorer.classes, threshold=scorer.threshold)
    decisions = (scores if labels is None else labels).tolist()
    classes = scorer.classes
    if config.problem == "binary":
        scores, classes = towards_positive(scores, classes, config)
    finite = np.isfinite(scores).reshape(len(scores), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"Row {part.frame.index[int(np.argmin(finite))]} gets a score that is no finite number. Look at its "
            "features; a model that answers so cannot be used for it."
        )
    return ScoredPart(
        frame=part.frame,
        features=features,
        positions=part.places,
        ids=ids,
        scores=scores,
        decisions=decisions,
        classes=classes,
    )


def output_frame(part: ScoredPart, *, version: int, keep: tuple[str, ...]) -> pd.DataFrame:
    """Return what is written: the id, the columns kept, ``score`` (or one a class), ``decision`` and ``version``."""
    columns: dict[str, Any] = {"prediction_id": part.ids}
    columns |= {name: part.frame[name].to_numpy() for name in keep}
    if part.scores.ndim == 1:
        columns["score"] = part.scores
    else:
        columns |= {f"score_{label}": part.scores[:, n] for n, label in enumerate(part.classes)}
    columns["decision"] = part.decisions
    columns["version"] = np.full(len(part), version, dtype=np.int64)
    return pd.DataFrame(columns)


def _steady(scores: FloatArray) -> FloatArray:
    flat = [float(f"{score:.12g}") for score in scores.ravel().tolist()]
    return np.array(flat, dtype=np.float64).reshape(scores.shape)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _whole(value: Any) -> Any:
    """Return a float that is a whole number as that number: a column with gaps reads 1 as 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
