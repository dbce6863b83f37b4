"""Least squares of every pair and triple of columns from one table of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evergreen.tasks.core.init.leak_features import LeakSearchData, View, measure_error

OPEN = 5e-4
"""Share of variance that two or three columns with any factors may leave open."""
OPEN_UNIT = 5e-3
"""The same for columns that are simply added or subtracted."""
ESSENTIAL = 5.0
"""Leaving out any part must leave open this many times more."""
EXACT = 1e-6
"""Less than this left open is rounding."""
MOST_PARTS = 12
"""Parts of the longest sum that is searched for."""
SHORTLIST = 40
"""Sets of each size that are examined closely."""


@dataclass(frozen=True)
class CorrelationTable:
    """Correlations of standardised columns with each other and the target: enough for any small least squares."""

    gram: np.ndarray
    link: np.ndarray
    sd: np.ndarray
    z: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, wanted: np.ndarray) -> CorrelationTable:
        """Build the table from columns (n, p) and a target (n,) or one column per class (n, k)."""
        sd = values.std(axis=0)
        z = (values - values.mean(axis=0)) / np.where(sd > 0, sd, 1.0)
        target = (wanted - wanted.mean(axis=0)) / max(float(np.sqrt(np.var(wanted, axis=0).sum())), 1e-300)
        return cls(z.T @ z / len(z), z.T @ target / len(z), sd, z)

    def factors(self, chosen: tuple[int, ...]) -> np.ndarray:
        """Return standardised least-squares factors, shape (chosen,) or (chosen, classes)."""
        part = self.gram[np.ix_(chosen, chosen)]
        return np.linalg.lstsq(part, self.link[list(chosen)], rcond=1e-12)[0]

    def open(self, chosen: tuple[int, ...]) -> float:
        """Return the share of the target's variance that the chosen columns leave open."""
        if not chosen:
            return 1.0
        return max(0.0, 1.0 - float(np.sum(self.factors(chosen) * self.link[list(chosen)])))

    def fit(self, chosen: tuple[int, ...]) -> np.ndarray:
        """Return fitted values, shape (n,)."""
        return self.z[:, list(chosen)] @ self.factors(chosen)

    def best(self, size: int) -> list[tuple[int, ...]]:
        """Return the sets of ``size`` columns that leave the least open, best first."""
        p = len(self.gram)
        if p < size:
            return []
        if size == 2:
            return [pair for _, pair in sorted(self._pairs(np.arange(p), self.gram, self.link))]
        triples = {}
        for first in range(p):
            rest = np.array([i for i in range(p) if i != first])
            away = self.gram[rest, first]
            left = self.gram[np.ix_(rest, rest)] - np.outer(away, away)
            link = self.link[rest] - np.multiply.outer(away, self.link[first])
            base = float(np.sum(np.square(self.link[first])))
            for gained, pair in sorted(self._pairs(rest, left, link)):
                triples[tuple(sorted((first, *pair)))] = gained - base
        return sorted(triples, key=lambda s: triples[s])[:SHORTLIST]

    @staticmethod
    def _pairs(names: np.ndarray, gram: np.ndarray, link: np.ndarray) -> list[tuple[float, tuple[int, ...]]]:
        """Return (minus the explained variance, pair) of the most telling pairs, by the closed form of two columns."""
        own = np.diag(gram)
        cross = link @ link.T if link.ndim > 1 else np.outer(link, link)
        square = np.diag(cross)
        top = np.outer(own, np.ones_like(own)) * square[None, :] + np.outer(square, own) - 2 * gram * cross
        below = np.outer(own, own) - gram**2
        usable = np.triu(below > 1e-9, 1) & (np.minimum.outer(own, own) > 1e-9)
        gain = np.where(usable, top / np.where(usable, below, 1.0), -np.inf)
        flat = np.argsort(-gain, axis=None)[:SHORTLIST]
        rows, columns = np.unravel_index(flat, gain.shape)
        fit = [(i, j) for i, j in zip(rows, columns, strict=True) if np.isfinite(gain[i, j])]
        return [(-float(gain[i, j]), (int(names[i]), int(names[j]))) for i, j in fit]

    def is_unit(self, chosen: tuple[int, ...], *, within: float = 0.03) -> bool:
        """Return whether the columns are simply added or subtracted: equal factors in their own units."""
        raw = np.abs(self.factors(chosen) / self.sd[list(chosen)])
        return bool(raw.min() >= (1 - within) * raw.max() > 0)

    def is_sum(self, chosen: tuple[int, ...]) -> bool:
        """Return whether the columns give the target away and each of them is needed."""
        left = self.open(chosen)
        if left > (OPEN_UNIT if self.is_unit(chosen) else OPEN):
            return False
        least = ESSENTIAL * max(left, 1e-9)
        return all(self.open(sub) >= least for sub in combinations(chosen, len(chosen) - 1))

    def grow(self, chosen: tuple[int, ...]) -> tuple[int, ...]:
        """Return a plain sum with the smaller parts it lacks: each must explain most of what is still open."""
        while (left := self.open(chosen)) > EXACT and len(chosen) < MOST_PARTS:
            wider = [(*chosen, i) for i in range(len(self.gram)) if i not in chosen]
            best = min(wider, key=self.open, default=chosen)
            if self.open(best) * ESSENTIAL > left or not self.is_unit(best):
                break
            chosen = best
        return chosen

    def many_parts(self) -> list[tuple[int, ...]]:
        """Return the set of four to twelve columns whose plain sum is the target exactly, if there is one."""
        everything = tuple(range(len(self.gram)))
        if len(self.z) < 10 * len(everything) or self.open(everything) > EXACT:
            return []
        weight = np.abs(self.factors(everything))
        raw, used = weight / self.sd, weight > 1e-4
        parts = tuple(np.flatnonzero(used & (raw > 0.01 * np.median(raw[used]))).tolist())
        exact = 4 <= len(parts) <= MOST_PARTS and self.is_unit(parts, within=0.01)
        return [parts] if exact and self.open(parts) <= 1e-4 else []


# Two or more columns whose sum is the target: exact parts, parts on another scale, differences that decide a class.


SAMPLE_ROWS = 4_000
"""Rows on which most sets are dismissed before all rows are used."""


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Columns that together give the target away; ``open`` is the share they leave open, ``formula`` for people."""

    columns: tuple[str, ...]
    open: float
    formula: str


def find_sums(data: LeakSearchData, *, limit: float) -> list[Sum]:
    """Return the smallest sets of columns whose sum (difference, product) gives the target away.

    Parameters
    ----------
    data : LeakSearchData
        What to search.
    limit : float
        Share of the target (as `measure_error` counts) that a set may leave open at most; the target's own past
        sets it below 0.005 where that says more.
    """
    views = [v for v in data.views if not (v.categorical or v.moment) and np.isfinite(v.values).any()]
    if len(views) < 2 or len(data.y) < 100:
        return []
    if data.problem == "regression":
        return _exact_sums(views, data, limit)
    return _deciding_sums(views, data, limit)


def _exact_sums(views: list[View], data: LeakSearchData, limit: float) -> list[Sum]:
    sums: list[Sum] = []
    for values, wanted, rows, form in _scales(views, data.y):
        varying = [v for v, column in zip(views, values.T, strict=True) if np.ptp(column) > 0]
        table = CorrelationTable.of(values[:, np.ptp(values, axis=0) > 0], wanted)
        if len(varying) < 2 or table.open(tuple(range(len(varying)))) > OPEN_UNIT:
            continue
        sets = [table.grow(s) for size in (2, 3) for s in table.best(size) if table.is_sum(s)]
        sets = sets or table.many_parts()
        for chosen in sets:
            fitted = np.full(len(data.y), np.nan)
            fitted[rows] = table.fit(chosen)
            view = View(columns=tuple(varying[i].text for i in chosen), values=fitted)
            if measure_error(view, data) <= limit:
                names = tuple(dict.fromkeys(c for i in chosen for c in varying[i].columns))
                sums.append(Sum(columns=names, open=table.open(chosen), formula=form.join(view.columns)))
        if sums:
            break
    return _smallest(sums)


def _scales(views: list[View], y: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
    """Return (columns, target, rows, sign) on each scale that a sum may hide on; nulls as 0, then left out."""
    raw = np.column_stack([v.values for v in views])
    every, finite = np.ones(len(y), dtype=bool), np.isfinite(raw)
    zeroed = np.where(finite, raw, 0.0)
    scales = [(zeroed, y, every, " + ")]
    dense = finite.mean(axis=0) > 0.8
    whole = finite[:, dense].all(axis=1)
    if not whole.all() and whole.sum() >= 200:
        scales.append((zeroed[whole] * dense, y[whole], whole, " + "))
    if y.min() >= 0 and y.max() < 30:
        scales += [(zeroed, np.expm1(y), every, " + "), (zeroed, 10.0**y, every, " + ")]
    scales.append((zeroed, y**2, every, " + "))
    if y.min() > 0:
        above = (raw > 0).all(axis=0)
        scales.append((np.log(np.where(above, raw, 1.0)), np.log(y), every, " × "))
    return scales


def _deciding_sums(views: list[View], data: LeakSearchData, limit: float) -> list[Sum]:
    """Return plain sums and differences that decide a class, or the order within a group."""
    values = np.column_stack([np.where(v.filled, v.values, 0.0) for v in views])
    wanted = data.y
    if data.problem == "multiclass":
        wanted = np.eye(int(wanted.max()) + 1)[wanted.astype(np.int64)]
    if data.group is not None and data.problem == "ranking":
        values, wanted = _centred(values, data.group), _centred(wanted, data.group)
    varying = np.flatnonzero(values.std(axis=0) > 1e-12)
    table = CorrelationTable.of(values[:, varying], wanted)
    sums: list[Sum] = []
    for chosen in (*table.best(2), *table.best(3)):
        members = [views[varying[i]] for i in chosen]
        if (added := _added(members, _signs(table.factors(chosen)), data, limit)) is not None:
            sums.append(added)
    return _smallest(sums)


def _added(members: list[View], signs: np.ndarray, data: LeakSearchData, limit: float) -> Sum | None:
    first = np.arange(len(data.y)) < SAMPLE_ROWS
    if measure_error(_plain(members, signs), data, rows=first) > 0.1:
        return None
    left = measure_error(_plain(members, signs), data)
    if not left <= min(limit, OPEN_UNIT):
        return None
    for rest in combinations(range(len(members)), len(members) - 1):
        without = _plain([members[i] for i in rest], signs[list(rest)])
        if measure_error(without, data) < ESSENTIAL * max(left, 1e-3):
            return None
    formula = " ".join(f"{'+' if sign > 0 else '-'} {v.text}" for v, sign in zip(members, signs, strict=True))
    names = tuple(dict.fromkeys(c for v in members for c in v.columns))
    return Sum(columns=names, open=left, formula=formula.removeprefix("+ "))


def _plain(members: Sequence[View], signs: np.ndarray) -> View:
    values = np.sum([sign * v.values for v, sign in zip(members, signs, strict=True)], axis=0)
    places = 9 - int(np.ceil(np.log10(max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-6))))
    return View(columns=(), values=np.round(values, places))


def _signs(factors: np.ndarray) -> np.ndarray:
    """Return +1 or −1 per column, the first +1; with several classes by the class that depends on them most."""
    if factors.ndim > 1:
        factors = factors[:, np.abs(factors).sum(axis=0).argmax()]
    signs = np.where(factors >= 0, 1.0, -1.0)
    return signs * signs[0]


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return values minus their group's mean, so that only the order within a group counts."""
    sums = np.zeros((int(group.max()) + 1, *values.shape[1:]))
    np.add.at(sums, group, values)
    return values - (sums.T / np.bincount(group)).T[group]


def _smallest(sums: list[Sum]) -> list[Sum]:
    """Return sets that contain no smaller one, the tightest five."""
    sums = sorted(sums, key=lambda s: (len(s.columns), s.open))
    smallest: list[Sum] = []
    for one in sums:
        if not any(set(other.columns) <= set(one.columns) for other in smallest):
            smallest.append(one)
    return smallest[:5]
