"""What the search for leaks looks at: the target, one or more views of each column, folds, groups, the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from evergreen.tasks.core.data.columns import ColumnFacts, Kind
from evergreen.tasks.core.stats.auc import average_precision, roc_auc

BINS = 256
"""Most bins a numeric column is cut into."""
FOLDS = 40
"""Contiguous blocks of a timed set; every other one learns, the rest judge."""


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A column that gives the target away, or looks as if it did."""

    column: str
    """Name."""
    kind: str
    """`copy`, `order`, `sum`, `bucket`, `filled` or `companion`."""
    why: str
    """One sentence with the numbers that decided."""
    share: float
    """Share of the target's information that is given away, 0 to 1."""
    certain: bool = True
    """True: leave the column out; False: doubtful, still used."""
    others: tuple[str, ...] = ()
    """Columns that give the target away only together with this one."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One way to look at columns: numbers (nan where null) or codes of categories (−1 where null).

    ``text`` names the view in sentences; ``columns`` are accused together when it gives the target away; a
    ``moment`` is a bare timestamp, which no sum is made of (differences of timestamps are views of their own).
    """

    columns: tuple[str, ...]
    values: np.ndarray
    categorical: bool = False
    text: str = ""
    moment: bool = False

    @property
    def filled(self) -> np.ndarray:
        """Mask of shape (n,): where the view has a value."""
        return self.values >= 0 if self.categorical else np.isfinite(self.values)


@dataclass(frozen=True, kw_only=True)
class LeakSearchData:
    """What the search looks at; rows in clock order where there is a clock."""

    problem: str
    """`binary`, `multiclass`, `regression` or `ranking`."""
    y: np.ndarray
    """(n,), class codes (classification) or values."""
    views: tuple[View, ...]
    """Views of the columns that may be leaks."""
    fold: np.ndarray
    """(n,), 0 or 1; each half is judged by a model trained on the other."""
    group: np.ndarray | None = None
    """(n,), codes of the group a ranking orders within; None without one."""
    entities: tuple[View, ...] = field(default=())
    """Columns that may name what a row is about (for 'the last value of the same thing')."""
    timed: bool = False
    """Whether the order of rows means time."""


def gather_search_data(
    frame: pd.DataFrame,
    facts: Mapping[str, ColumnFacts],
    *,
    problem: str,
    target: str,
    group: str | None = None,
    time: str | None = None,
    times: Mapping[str, np.ndarray] | None = None,
    rng: np.random.Generator,
) -> LeakSearchData:
    """Turn a frame (in clock order where ``time`` is given, target not null) into what the search looks at.

    Parameters
    ----------
    times : mapping of str to ndarray of shape (n,), optional
        Seconds of every column that holds timestamps (nan where null).
    rng : numpy.random.Generator
        Draws the halves where there is no clock.
    """
    times = times or {}
    used = [n for n, f in facts.items() if n not in (target, time, group) and f.distinct > 0]
    useful = [name for name in used if not facts[name].useless]
    views = [_view(frame[n], facts[n]) for n in useful if facts[n].kind is not Kind.DATETIME]
    views += _elapsed(times, time, [n for n in times if n == time or n in used])
    codes = pd.factorize(frame[group])[0] if group else None
    return LeakSearchData(
        problem=problem,
        y=encode_target(frame[target], problem),
        views=tuple(views),
        fold=_halves(len(frame), codes, timed=time is not None, rng=rng),
        group=codes,
        entities=tuple(_entities(frame, facts, used, time)) if time else (),
        timed=time is not None,
    )


def encode_target(column: pd.Series, problem: str) -> np.ndarray:
    """Return class codes in the order of the sorted labels, or the values as float64; shape (n,)."""
    if problem in ("binary", "multiclass"):
        return np.asarray(pd.factorize(column, sort=True)[0], dtype=float)
    return column.to_numpy(dtype=float, na_value=np.nan)


def _view(column: pd.Series, facts: ColumnFacts) -> View:
    numeric = facts.kind is Kind.NUMERIC
    values = (
        column.to_numpy(dtype=float, na_value=np.nan) if numeric else pd.factorize(column)[0].astype(float)
    )
    return View(columns=(facts.name,), values=values, categorical=not numeric, text=facts.name)


def _elapsed(times: Mapping[str, np.ndarray], clock: str | None, names: list[str]) -> list[View]:
    """Return the differences between timestamps: what passed between two events may be the target."""
    views = [
        View(columns=tuple(n for n in (a, b) if n != clock), values=times[b] - times[a], text=f"{b} - {a}")
        for a, b in combinations(names[:6], 2)
    ]
    alone = [View(columns=(n,), values=times[n], text=n, moment=True) for n in names if n != clock]
    return views + alone


def _halves(n: int, group: np.ndarray | None, *, timed: bool, rng: np.random.Generator) -> np.ndarray:
    """Return 0 or 1 per row: alternating stretches of time, else drawn; a group stays whole."""
    if timed:
        half = (np.arange(n) * FOLDS // max(n, 1)) % 2
        return half if group is None else half[np.unique(group, return_index=True)[1]][group]
    if group is not None:
        return rng.permutation(np.arange(group.max() + 1) % 2)[group]
    return rng.permutation(np.arange(n) % 2)


def _entities(
    frame: pd.DataFrame, facts: Mapping[str, ColumnFacts], names: list[str], time: str
) -> list[View]:
    """Return columns whose values come back, those with most values first.

    Where several rows share a moment, an entity is there once in each: then only such columns qualify.
    """
    n = len(frame)
    fit = [
        c
        for c in names
        if facts[c].kind in (Kind.CATEGORICAL, Kind.NUMERIC)
        and 2 <= facts[c].distinct <= n / 3
        and (facts[c].kind is Kind.CATEGORICAL or pd.api.types.is_integer_dtype(frame[c].dtype))
    ]
    if frame[time].nunique() < 0.5 * n:
        fit = [c for c in fit if frame.duplicated([time, c]).mean() < 0.01]
    fit.sort(key=lambda c: -facts[c].distinct)
    codes = [pd.factorize(frame[c])[0].astype(float) for c in fit[:8]]
    return [View(columns=(c,), values=v, categorical=True, text=c) for c, v in zip(fit, codes, strict=False)]


# How much of the target one view gives away, judged on rows that were not used to fit it.


FEWEST = 50
"""Fewer rows are not judged."""
PARTNERS = 20
"""Neighbours within a group that each row is compared with."""


def measure_error(view: View, data: LeakSearchData, *, rows: np.ndarray | None = None) -> float:
    """Return the share of the target a view leaves open: 0 gives it away, 1 tells nothing.

    The view is cut into at most 256 bins (or its categories), each bin learns the target on one half of the rows
    and is judged on the other, both ways round; the best of this and the plain order of values counts, once
    with nulls as a value of their own and once on filled rows alone.

    Binary: 2 (1 − AUC), but at least a quarter of what is missing of the average precision, since a rare class is
    easily ranked and hardly named. Multiclass: errors by those of the majority. Regression: 1 − R² of the ranks.
    Ranking: 2 (1 − concordance) of pairs within a group. ``nan`` when there are too few rows to tell. ``rows``, a
    mask of shape (n,), looks at a part only.
    """
    rows = np.ones(len(view.values), dtype=bool) if rows is None else rows
    filled = view.filled & rows
    errors = [_error(view, data, rows)]
    if filled.sum() < rows.sum() and filled.sum() >= max(2 * FEWEST, 0.02 * rows.sum()):
        errors.append(_error(view, data, filled))
    return min((error for error in errors if np.isfinite(error)), default=float("nan"))


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
    if len(distinct) > BINS:
        places = np.linspace(0, 1, bins + 1)[:-1]
        distinct = np.unique(np.quantile(values[finite], places, method="lower"))
    codes[finite] = np.searchsorted(distinct, values[finite], side="right")
    return codes


def _error(view: View, data: LeakSearchData, rows: np.ndarray) -> float:
    y = data.y[rows]
    if len(y) < FEWEST or np.all(y == y[0]):
        return float("nan")
    codes, fold = to_codes(view, rows), data.fold[rows]
    if data.problem == "multiclass":
        return _class_error(codes, y, fold)
    if data.problem == "regression":
        y = rankdata(y)
    score = _bin_means(codes, y, fold)
    plain = np.where(view.filled, view.values, np.nan)[rows] if not view.categorical else score
    return min(_judge(score, y, data, rows), _judge_order(plain, y, data, rows))


def _bin_means(codes: np.ndarray, y: np.ndarray, fold: np.ndarray) -> np.ndarray:
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


def _judge(score: np.ndarray, y: np.ndarray, data: LeakSearchData, rows: np.ndarray) -> float:
    if data.problem == "ranking" and data.group is not None:
        return 2.0 * (1.0 - concordance(score, y, data.group[rows]))
    if data.problem == "binary":
        rarer = y == (y.max() if np.mean(y == y.max()) <= 0.5 else y.min())
        score = score if rarer[y == y.max()].any() else -score
        return max(2.0 * (1.0 - roc_auc(rarer, score)), (1.0 - average_precision(rarer, score)) / 4)
    return float(np.mean((y - score) ** 2) / np.var(y))


def _judge_order(values: np.ndarray, y: np.ndarray, data: LeakSearchData, rows: np.ndarray) -> float:
    """Return the error of the plain order of values, in the better of its two directions."""
    if not np.isfinite(values).all():
        values = np.where(np.isfinite(values), values, np.nanmin(values, initial=0.0) - 1.0)
    if np.all(values == values[0]):
        return 1.0
    if data.problem == "regression":
        return 1.0 - float(np.corrcoef(rankdata(values), y)[0, 1]) ** 2
    return min(_judge(values, y, data, rows), _judge(-values, y, data, rows))
