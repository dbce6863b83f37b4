"""How much of the target one view gives away, judged on rows it was not learned from."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from tasks.core.leaks.material import BINS, Material, View

FEWEST = 50
"""Fewer rows are not judged."""
PARTNERS = 20
"""Neighbours within a group that each row is compared with."""


def measure_error(view: View, material: Material, *, rows: np.ndarray | None = None) -> float:
    """Return the share of the target a view leaves open: 0 gives it away, 1 tells nothing.

    The view is cut into at most 256 bins (or its categories), each bin learns the target on one half of the rows
    and is judged on the other, both ways round; the best of this and the plain order of values counts, once
    with nulls as a value of their own and once on filled rows alone.

    Binary: 2 (1 − AUC), but at least a quarter of what is missing of the average precision, since a rare class is
    easily ranked and hardly named. Multiclass: errors by those of the majority. Regression: 1 − R² of the ranks.
    Ranking: 2 (1 − concordance) of pairs within a group. ``nan`` when there are too few rows to tell. ``rows``, a
    mask of shape (n,), looks at a part only.
    """
    looked = np.ones(len(view.values), dtype=bool) if rows is None else rows
    filled = view.filled & looked
    errors = [_error(view, material, looked)]
    if filled.sum() < looked.sum() and filled.sum() >= max(2 * FEWEST, 0.02 * looked.sum()):
        errors.append(_error(view, material, filled))
    known = [error for error in errors if np.isfinite(error)]
    return min(known) if known else float("nan")


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve, ties count half; ``nan`` with one class.

    >>> auc(np.array([1.0, 2.0, 3.0]), np.array([False, True, True]))
    1.0
    """
    good = int(positive.sum())
    bad = len(positive) - good
    if not good or not bad:
        return float("nan")
    return float((rankdata(score)[positive].sum() - good * (good + 1) / 2) / (good * bad))


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the mean precision at the positives, rows of equal score taken together; ``nan`` without positives.

    >>> average_precision(np.array([1.0, 2.0, 3.0]), np.array([True, False, True]))
    0.8333333333333333
    """
    if not positive.any():
        return float("nan")
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits = np.cumsum(positive[order])[last]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / positive.sum())


def concordance(score: np.ndarray, y: np.ndarray, group: np.ndarray) -> float:
    """Return the share of pairs within a group that ``score`` orders as ``y`` does; ties of ``score`` count half.

    ``nan`` with fewer than 50 pairs; in groups beyond 21 rows only near neighbours are compared.

    >>> concordance(np.arange(30.0), np.arange(30.0) ** 2, np.repeat([0, 1], 15))
    1.0
    """
    order = np.argsort(group, kind="stable")
    score, y, group = score[order], y[order], group[order]
    right = total = 0.0
    for step in range(1, min(PARTNERS, len(y) - 1) + 1):
        wanted = np.sign(y[step:] - y[:-step])
        pairs = (group[step:] == group[:-step]) & (wanted != 0)
        got = np.sign(score[step:] - score[:-step])[pairs] * wanted[pairs]
        right += float(np.sum(got > 0) + 0.5 * np.sum(got == 0))
        total += float(pairs.sum())
    return right / total if total >= FEWEST else float("nan")


def to_codes(view: View, rows: np.ndarray) -> np.ndarray:
    """Return bin codes of the chosen rows, 0 for null; shape (rows,)."""
    values = view.values[rows]
    if view.categorical:
        return np.asarray(values + 1, dtype=np.int64)
    finite = np.isfinite(values)
    codes = np.zeros(len(values), dtype=np.int64)
    if not finite.any():
        return codes
    bins = int(np.clip(finite.sum() // 10, 2, BINS))
    distinct = np.unique(values[finite])
    edges = (
        distinct
        if len(distinct) <= BINS
        else np.unique(np.quantile(values[finite], np.linspace(0, 1, bins + 1)[:-1], method="lower"))
    )
    codes[finite] = np.searchsorted(edges, values[finite], side="right")
    return codes


def _error(view: View, material: Material, rows: np.ndarray) -> float:
    y = material.y[rows]
    if len(y) < FEWEST or np.all(y == y[0]):
        return float("nan")
    codes, fold = to_codes(view, rows), material.fold[rows]
    if material.problem == "multiclass":
        return _class_error(codes, y, fold)
    if material.problem == "regression":
        y = rankdata(y)
    score = _learned(codes, y, fold)
    plain = np.where(view.filled, view.values, np.nan)[rows] if not view.categorical else score
    return min(_judge(score, y, material, rows), _judge_order(plain, y, material, rows))


def _learned(codes: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return for each row the mean target of its bin in the other half, shrunk by one average row."""
    score = np.empty(len(y))
    size = int(codes.max()) + 1
    for half in (0, 1):
        learn, judge = fold != half, fold == half
        mean = y[learn].mean() if learn.any() else y.mean()
        sums = np.bincount(codes[learn], weights=y[learn], minlength=size) + mean
        counts = np.bincount(codes[learn], minlength=size) + 1.0
        score[judge] = (sums / counts)[codes[judge]]
    return score


def _class_error(codes: np.ndarray, y: np.ndarray, fold: np.ndarray) -> float:
    classes = y.astype(np.int64)
    k, size, wrong = int(classes.max()) + 1, int(codes.max()) + 1, 0.0
    for half in (0, 1):
        learn, judge = fold != half, fold == half
        table = np.bincount(codes[learn] * k + classes[learn], minlength=size * k).reshape(size, k)
        common = int(np.bincount(classes[learn], minlength=k).argmax())
        guess = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), common)
        wrong += float(np.sum(guess[codes[judge]] != classes[judge]))
    majority = len(y) - float(np.bincount(classes).max())
    return wrong / majority if majority else float("nan")


def _judge(score: np.ndarray, y: np.ndarray, material: Material, rows: np.ndarray) -> float:
    if material.problem == "ranking" and material.group is not None:
        return 2.0 * (1.0 - concordance(score, y, material.group[rows]))
    if material.problem == "binary":
        rarer = y == (y.max() if np.mean(y == y.max()) <= 0.5 else y.min())
        score = score if rarer[y == y.max()].any() else -score
        return max(2.0 * (1.0 - auc(score, rarer)), (1.0 - average_precision(score, rarer)) / 4)
    return float(np.mean((y - score) ** 2) / np.var(y))


def _judge_order(values: np.ndarray, y: np.ndarray, material: Material, rows: np.ndarray) -> float:
    """Return the error of the plain order of values, in the better of its two directions."""
    if not np.isfinite(values).all():
        values = np.where(np.isfinite(values), values, np.nanmin(values, initial=0.0) - 1.0)
    if np.all(values == values[0]):
        return 1.0
    if material.problem == "regression":
        return 1.0 - float(np.corrcoef(rankdata(values), y)[0, 1]) ** 2
    return min(_judge(values, y, material, rows), _judge(-values, y, material, rows))
