"""Two or more columns whose sum is the target: exact parts, parts on another scale, differences that decide a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.leaks.least_squares import ESSENTIAL, OPEN_UNIT, Table
from tasks.core.leaks.material import Material, View
from tasks.core.leaks.strength import measure_error

GLANCE = 4_000
"""Rows on which most sets are dismissed before all rows are looked at."""


@dataclass(frozen=True, kw_only=True)
class Sum:
    """Columns that together give the target away; ``open`` is the share they leave open, ``formula`` for people."""

    columns: tuple[str, ...]
    open: float
    formula: str


def find_sums(material: Material, *, limit: float) -> list[Sum]:
    """Return the smallest sets of columns whose sum (difference, product) gives the target away.

    Parameters
    ----------
    material : Material
        What to search.
    limit : float
        Share of the target (as `measure_error` counts) that a set may leave open at most; the target's own past
        sets it below 0.005 where that says more.
    """
    views = [v for v in material.views if not (v.categorical or v.moment) and np.isfinite(v.values).any()]
    if len(views) < 2 or len(material.y) < 100:
        return []
    if material.problem == "regression":
        return _exact_sums(views, material, limit)
    return _deciding_sums(views, material, limit)


def _exact_sums(views: list[View], material: Material, limit: float) -> list[Sum]:
    found: list[Sum] = []
    for values, wanted, rows, form in _scales(views, material.y):
        kept = [v for v, column in zip(views, values.T, strict=True) if np.ptp(column) > 0]
        table = Table.of(values[:, np.ptp(values, axis=0) > 0], wanted)
        if len(kept) < 2 or table.open(tuple(range(len(kept)))) > OPEN_UNIT:
            continue
        sets = [table.grow(s) for size in (2, 3) for s in table.best(size) if table.is_sum(s)]
        sets = sets or table.many_parts()
        for chosen in sets:
            fitted = np.full(len(material.y), np.nan)
            fitted[rows] = table.fit(chosen)
            view = View(columns=tuple(kept[i].text for i in chosen), values=fitted)
            if measure_error(view, material) <= limit:
                names = tuple(dict.fromkeys(c for i in chosen for c in kept[i].columns))
                found.append(Sum(columns=names, open=table.open(chosen), formula=form.join(view.columns)))
        if found:
            break
    return _smallest(found)


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


def _deciding_sums(views: list[View], material: Material, limit: float) -> list[Sum]:
    """Return plain sums and differences that decide a class, or the order within a group."""
    values = np.column_stack([np.where(v.filled, v.values, 0.0) for v in views])
    wanted = _indicators(material)
    if material.group is not None and material.problem == "ranking":
        values, wanted = _centred(values, material.group), _centred(wanted, material.group)
    kept = np.flatnonzero(values.std(axis=0) > 1e-12)
    table = Table.of(values[:, kept], wanted)
    found: list[Sum] = []
    for size in (2, 3):
        for chosen in table.best(size) if len(kept) >= size else []:
            members = [views[kept[i]] for i in chosen]
            signs = _signs(table.factors(chosen))
            if (added := _added(members, signs, material, limit)) is not None:
                found.append(added)
    return _smallest(found)


def _added(members: list[View], signs: np.ndarray, material: Material, limit: float) -> Sum | None:
    first = np.arange(len(material.y)) < GLANCE
    if measure_error(_plain(members, signs), material, rows=first) > 0.1:
        return None
    left = measure_error(_plain(members, signs), material)
    if not left <= min(limit, OPEN_UNIT):
        return None
    for out in range(len(members)):
        rest = [i for i in range(len(members)) if i != out]
        if measure_error(_plain([members[i] for i in rest], signs[rest]), material) < ESSENTIAL * max(
            left, 1e-3
        ):
            return None
    formula = " ".join(f"{'+' if sign > 0 else '-'} {v.text}" for v, sign in zip(members, signs, strict=True))
    names = tuple(dict.fromkeys(c for v in members for c in v.columns))
    return Sum(columns=names, open=left, formula=formula.removeprefix("+ "))


def _plain(members: Sequence[View], signs: np.ndarray) -> View:
    values = np.sum([sign * v.values for v, sign in zip(members, signs, strict=True)], axis=0)
    places = 9 - int(np.ceil(np.log10(max(float(np.nanmax(np.abs(values), initial=0.0)), 1e-6))))
    return View(columns=(), values=np.round(values, places))


def _signs(factors: np.ndarray) -> np.ndarray:
    """Return +1 or −1 per column, the first +1; with several classes by the class that leans most on them."""
    if factors.ndim > 1:
        factors = factors[:, np.abs(factors).sum(axis=0).argmax()]
    signs = np.where(factors >= 0, 1.0, -1.0)
    return signs * signs[0]


def _indicators(material: Material) -> np.ndarray:
    if material.problem == "multiclass":
        return np.eye(int(material.y.max()) + 1)[material.y.astype(np.int64)]
    return material.y


def _centred(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return values minus their group's mean, so that only the order within a group counts."""
    size = np.bincount(group)
    columns = values if values.ndim > 1 else values[:, None]
    means = np.column_stack([np.bincount(group, weights=column) / size for column in columns.T])
    centred = columns - means[group]
    return centred if values.ndim > 1 else centred[:, 0]


def _smallest(found: list[Sum]) -> list[Sum]:
    """Return sets that hold no smaller found set, the tightest five."""
    found = sorted(found, key=lambda s: (len(s.columns), s.open))
    kept: list[Sum] = []
    for one in found:
        if not any(set(other.columns) <= set(one.columns) for other in kept):
            kept.append(one)
    return kept[:5]
