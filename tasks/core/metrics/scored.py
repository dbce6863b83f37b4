"""Answers of a model on rows whose outcome is known: the one input of every metric and comparison."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import Array, BoolArray, FloatArray
from evergreen.tasks.core.errors import DataError

Classes = tuple[Any, ...]
"""Class labels: (negative, positive) for binary, all classes for multiclass, else empty."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Outcomes and a model's answers on the same rows.

    Raises
    ------
    DataError
        When the columns differ in length.
    """

    y: Array
    """(n,), outcome: a class, a number, or a relevance (0 = not relevant; ranking)."""
    score: Array | None = None
    """(n,) or (n, k), or None. Binary: P(positive). Multiclass: probabilities, columns in the order of
    ``classes``. Regression: the prediction. Ranking: any score, larger ranks higher."""
    label: Array | None = None
    """(n,), predicted class; None: P >= 0.5 (binary) or the most likely class (multiclass)."""
    classes: Classes = ()
    """Class labels in the order of the columns of ``score``."""
    positive_class: Any = None
    """The positive one of two classes; None: the last of ``classes``, or 1 without any."""
    group: Array | None = None
    """(n,), codes of the ranking groups; None without groups."""
    weight: Array | None = None
    """(n,), weight of each row, >= 0; None: all alike."""
    value: Array | None = None
    """(n,), what acting on the row earns, in the unit of the business; None: not known."""
    positions: Array | None = None
    """(n,), the clock of each row as a float (seconds or row numbers); None without a clock."""

    def __post_init__(self) -> None:
        """Turn columns into arrays and refuse different lengths."""
        for name in _COLUMNS:
            given = getattr(self, name)
            if given is None:
                continue
            column = np.asarray(given)
            object.__setattr__(self, name, column)
            if column.shape[:1] != np.shape(self.y)[:1]:
                raise DataError(
                    f"Column '{name}' of scored rows has shape {column.shape}, 'y' has {np.shape(self.y)}. "
                    "Allowed: one entry a row. Hand in the answers for exactly the rows of 'y'."
                )

    def __len__(self) -> int:
        """Return the number of rows."""
        return int(self.y.shape[0])

    def take(self, indices: Array) -> Scored:
        """Return the rows at ``indices`` (integers, with repeats if wanted, or a mask)."""
        columns = {name: getattr(self, name) for name in _COLUMNS if getattr(self, name) is not None}
        return replace(self, **{name: column[indices] for name, column in columns.items()})

    @property
    def is_binary(self) -> bool:
        """Whether outcomes are read as positive or not: two classes, a positive one, or a bare score."""
        if self.classes:
            return len(self.classes) == 2
        return self.positive_class is not None or self.label is None

    @property
    def positive(self) -> Any:
        """The positive class of a binary problem."""
        if self.positive_class is not None:
            return self.positive_class
        return self.classes[-1] if self.classes else 1

    @property
    def truth(self) -> BoolArray:
        """Whether each row's outcome is the positive class, shape (n,)."""
        return _equals(self.y, self.positive)

    @property
    def positive_score(self) -> FloatArray:
        """The score as floats, shape (n,); of two probability columns the positive class's."""
        score = self.require("score").astype(np.float64, copy=False)
        if score.ndim == 1:
            return score
        column = self.classes.index(self.positive) if self.classes else score.shape[1] - 1
        return np.ascontiguousarray(score[:, column])

    @property
    def says_positive(self) -> BoolArray:
        """Whether the model decides for the positive class, shape (n,)."""
        if self.label is not None:
            return _equals(self.label, self.positive)
        return np.asarray(self.positive_score >= 0.5, dtype=np.bool_)

    @property
    def predicted(self) -> Array:
        """The predicted class, shape (n,); of a multiclass score the most likely one."""
        if self.label is not None:
            return self.label
        if not self.classes:
            raise DataError("'classes' is missing: it says which class each column of 'score' stands for.")
        return np.asarray(self.classes)[np.argmax(self.require("score"), axis=1)]

    def require(self, name: str) -> Array:
        """Return a column, or say that this metric needs it."""
        column = getattr(self, name)
        if column is None:
            raise DataError(
                f"The metric needs the column '{name}', and these rows have none. "
                f"Configure '{name}' or choose a metric that does without."
            )
        return np.asarray(column)

    def missing(self) -> dict[str, int]:
        """Count the entries that are NaN or infinite, by column; empty when all is well."""
        counts = {name: _not_finite(getattr(self, name)) for name in _COLUMNS}
        return {name: count for name, count in counts.items() if count}


_COLUMNS = ("y", "score", "label", "group", "weight", "value", "positions")


def align_classes(first: Scored, second: Scored) -> tuple[Scored, Scored]:
    """Give two multiclass models the same classes in the same order; an unknown class has probability 0."""
    if first.is_binary or (first.classes and first.classes == second.classes):
        return first, second
    columns = [column for column in (first.y, first.label, second.label) if column is not None]
    labels = [*first.classes, *second.classes, *(c for column in columns for c in np.unique(column).tolist())]
    union = tuple(dict.fromkeys(labels))
    return _with_classes(first, union), _with_classes(second, union)


def _with_classes(scored: Scored, classes: Classes) -> Scored:
    """Reorder the columns of a probability matrix to ``classes``."""
    if scored.score is None or scored.score.ndim == 1:
        return replace(scored, classes=classes)
    wide = np.zeros((len(scored), len(classes)))
    wide[:, [classes.index(c) for c in scored.classes]] = scored.score
    return replace(scored, score=wide, classes=classes)


def _equals(column: Array, value: Any) -> BoolArray:
    """Compare a column with one class; a class of another type is an error rather than all False."""
    text = isinstance(value, str)
    if (column.dtype.kind in "biuf" and text) or (column.dtype.kind in "US" and not text):
        raise DataError(
            f"The class {value!r} cannot be compared with outcomes of type {column.dtype}. "
            "Allowed: a positive class of the outcomes' own type."
        )
    same = np.asarray(column == value)
    return same.astype(np.bool_)


def _not_finite(column: Array | None) -> int:
    """Count NaN, infinities and None."""
    if column is None or column.dtype.kind not in "fO":
        return 0
    if column.dtype.kind == "f":
        return int(column.size - np.isfinite(column).sum())
    entries = column.ravel().tolist()
    return sum(one is None or (isinstance(one, float) and not math.isfinite(one)) for one in entries)
