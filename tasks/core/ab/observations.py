"""What a live test observed: one value a row (or group) and variant, and what is known of it when."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.ab.metric import live_values
from tasks.core.errors import DataError
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import BoolArray, FloatArray, IntArray, Scored

ObjectArray = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answered:
    """Logged answers of all variants, one entry an answer, in any order.

    Attributes
    ----------
    keys : array of str, shape (n,)
        Prediction id; a shadow's answer has the id of the row it scored.
    variants : array of str, shape (n,)
        Who answered.
    units : array, shape (n,)
        Unit of randomisation (entity); None where each row stands for itself.
    positions, known_at : array, shape (n,)
        On the clock: of the prediction, and of when its outcome became known (NaN: not yet).
    scored : Scored
        Answers and outcomes; the outcome of an unlabelled row is not looked at.
    """

    keys: ObjectArray
    variants: ObjectArray
    units: ObjectArray
    positions: FloatArray
    known_at: FloatArray
    scored: Scored

    def __post_init__(self) -> None:
        """Refuse columns of different lengths and positions that are none."""
        for name in ("keys", "variants", "units", "positions", "known_at"):
            column = getattr(self, name)
            if len(column) != len(self.scored):
                raise DataError(
                    f"Column '{name}' of logged answers has {len(column)} entries for {len(self.scored)} rows. "
                    "Allowed: one entry an answer."
                )
        if not np.isfinite(self.positions).all():
            raise DataError("A logged answer has no position on the clock. Allowed: finite positions only.")

    def take(self, chosen: BoolArray) -> Answered:
        """Return the answers of a mask."""
        columns = {
            name: getattr(self, name)[chosen]
            for name in ("keys", "variants", "units", "positions", "known_at")
        }
        return Answered(**columns, scored=self.scored.take(chosen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Observations:
    """One entry a row (or ranking group) and variant, shape (m,).

    Attributes
    ----------
    keys, variants, units
        As of `Answered`; of a group, key and unit are its name.
    rows : array of int
        Rows that the entry stands for: 1, or those of the group that the variant answered.
    positions, known_at : array
        A group is as old as its newest row, and known when its last outcome is.
    values : array
        The metric, greater always better; NaN where it is undefined or the outcome is unknown.
    """

    keys: ObjectArray
    variants: ObjectArray
    units: ObjectArray
    rows: IntArray
    positions: FloatArray
    known_at: FloatArray
    values: FloatArray

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.keys)

    def take(self, chosen: BoolArray) -> Observations:
        """Return the entries of a mask."""
        return Observations(**{name: getattr(self, name)[chosen] for name in self.__dataclass_fields__})


def observe(answered: Answered, metric: Metric) -> Observations:
    """Measure each answer by a metric that can be followed live.

    Raises
    ------
    DataError
        When a variant answered one row (or group) twice.
    """
    ranking = metric.problems == frozenset({"ranking"})
    found = _by_group(answered, metric) if ranking else _by_row(answered, metric)
    _refuse_repeats(found)
    return found


def _by_row(answered: Answered, metric: Metric) -> Observations:
    values = np.full(len(answered.scored), np.nan)
    for variant in np.unique(answered.variants.astype(str)):
        places = np.flatnonzero((answered.variants == variant) & np.isfinite(answered.known_at))
        measured, rows = live_values(metric, answered.scored.take(places))
        values[places[rows]] = measured
    values[_unanswered(answered.scored)] = np.nan
    return Observations(
        keys=answered.keys, variants=answered.variants, units=answered.units, rows=np.ones(len(values), dtype=np.int64),
        positions=answered.positions, known_at=answered.known_at, values=values,
    )  # fmt: skip


def _by_group(answered: Answered, metric: Metric) -> Observations:
    """Put the rows of a group and variant together.

    Groups that say nothing about an order are left out, unless they do in another variant's part of their rows: a
    group of which several variants answered a part each must be known as such.
    """
    scored = answered.scored
    pair = np.array([f"{v}\x1f{g}" for v, g in zip(answered.variants, scored.require("group"), strict=True)])
    _, first, codes = np.unique(pair, return_index=True, return_inverse=True)
    groups = len(first)
    newest, known = np.full(groups, -np.inf), np.full(groups, -np.inf)
    np.maximum.at(newest, codes, answered.positions)
    np.maximum.at(known, codes, np.where(np.isfinite(answered.known_at), answered.known_at, np.inf))
    values = np.full(groups, np.nan)
    whole = np.isfinite(known)
    places = np.flatnonzero(whole[codes])
    if places.size:
        values[whole] = -np.inf  # says nothing, unless measured below
        recoded = Scored(
            y=scored.y[places], score=scored.require("score")[places], group=codes[places],
            value=None if scored.value is None else scored.value[places],
        )  # fmt: skip
        measured, rows = live_values(metric, recoded)
        values[codes[places[rows]]] = measured
    values[codes[_unanswered(scored)]] = np.nan
    silent = np.isneginf(values)
    names = scored.require("group")[first].astype(str).astype(object)
    found = Observations(
        keys=names, variants=answered.variants[first], units=names, rows=np.bincount(codes, minlength=groups),
        positions=newest, known_at=np.where(whole, known, np.nan), values=np.where(silent, np.nan, values),
    )  # fmt: skip
    return found.take(~silent | np.isin(names.astype(str), names[~silent].astype(str)))


def _unanswered(scored: Scored) -> BoolArray:
    """Tell which rows have neither a finite score nor a decision: the model failed on them, whatever a metric says."""
    if not len(scored):
        return np.zeros(0, dtype=np.bool_)
    none = np.ones(len(scored), dtype=np.bool_)
    if scored.label is not None:
        blank = (one is None or (isinstance(one, float) and math.isnan(one)) for one in scored.label.tolist())
        none &= np.fromiter(blank, dtype=np.bool_, count=len(scored))
    if scored.score is not None:
        none &= ~np.isfinite(scored.score.astype(np.float64).reshape(len(scored), -1)).all(axis=1)
    return none


def _refuse_repeats(found: Observations) -> None:
    pairs = np.array([f"{v}\x1f{k}" for v, k in zip(found.variants, found.keys, strict=True)])
    names, counts = np.unique(pairs, return_counts=True)
    if (counts > 1).any():
        variant, key = str(names[np.argmax(counts)]).split("\x1f", 1)
        raise DataError(
            f"Variant '{variant}' answered '{key}' {counts.max()} times. Allowed: one answer a row; hand in each once."
        )
