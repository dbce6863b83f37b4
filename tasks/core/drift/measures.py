"""Distances of a window from the reference: one registered class each, shown and, with a level, deciding."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, FloatArray
from evergreen.tasks.core.registry import DRIFT_MEASURES, require_type
from evergreen.tasks.core.stats.distances import (
    hellinger,
    js_distance,
    kl_divergence,
    smoothed_shares,
    total_variation,
)

CHANCE = 0.05
"""One window in so many, 1/20, exceeds by chance alone what a measure's null says."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellCounts:
    """Two sides of some columns over the same cells, padded to one width.

    Cells are the reference's deciles for numbers, the categories and *other* for the rest; *unseen*, -inf, +inf and
    null have one of their own.
    """

    reference: FloatArray
    current: FloatArray
    """``reference``, ``current`` (shape (columns, cells)): counts."""
    exist: BoolArray
    """Shape (columns, cells): cells that hold a row on either side; the others are padding, or say nothing."""

    @property
    def known(self) -> BoolArray:
        """Columns with rows on both sides, shape (columns,)."""
        return (self.reference.sum(axis=1) > 0) & (self.current.sum(axis=1) > 0)

    @cached_property
    def chance(self) -> FloatArray:
        """The χ² that chance exceeds once in 20, times 1/n + 1/m, shape (columns,); NaN without rows.

        Many distances are, without drift, about a fixed multiple of it.
        """
        from scipy.special import chdtri  # lazy: a configuration needs the measures' names alone

        n, m, many = self.reference.sum(axis=1), self.current.sum(axis=1), self.exist.sum(axis=1)
        scale = np.divide(n + m, n * m, out=np.full(n.shape, np.nan), where=self.known)
        return np.where(many > 1, chdtri(np.maximum(many - 1, 1), CHANCE), 0.0) * scale


class DriftMeasure:
    """A distance that is shown for each column and, where ``critical`` has a level, decides under fixed thresholds."""

    name: str = ""
    """What it is registered by; its level is the key ``drift.<name>_critical``, for a team's own ``critical``
    beside its name in ``drift.measures``."""
    title: str = ""
    label: str = ""
    unit: ClassVar[str] = ""
    """``title``, ``unit``, ``label``: for people: its name, the unit (empty where it has none), and the short
    heading of a table's column."""
    kinds: ClassVar[tuple[str, ...]] = ("numeric", "categorical")
    """Columns it is measured for: ``numeric``, ``categorical``; NaN for others."""
    advice: ClassVar[str] = ""
    """What is said of its level in the reference of the configuration."""
    in_table: ClassVar[bool] = True
    """Whether the page of ``evergreen drift`` has a column of it; its JSON always has."""

    def statistic(self, cells: CellCounts) -> FloatArray:
        """Return the distance of each column, shape (columns,), greater meaning more; NaN without rows on a side."""
        raise NotImplementedError

    def null(self, cells: CellCounts) -> FloatArray:
        """Return what it exceeds by chance in one of 20 windows without drift, shape (columns,); NaN: not known."""
        return np.full(len(cells.reference), np.nan)

    def phrase(self, value: float) -> str:
        """Return the value as people read it."""
        return f"{self.title} {value:.3g} {self.unit}".strip()


@DRIFT_MEASURES.reader
def _as_measure(name: str, thing: Any) -> DriftMeasure:
    made = require_type(
        thing() if isinstance(thing, type) else copy.copy(thing),
        DriftMeasure,
        what=f"The drift measure '{name}' is",
        allowed="a class derived from evergreen.tasks.core.drift.measures.DriftMeasure. Correct it, or remove it from "
        "drift.measures.",
    )
    made.name = name
    made.title = made.title or name
    made.label = made.label or made.title
    return made


def measure_cells(
    cells: CellCounts, measures: Sequence[DriftMeasure], *, kind: str
) -> Mapping[str, FloatArray]:
    """Return each measure of columns of one kind, and what it exceeds by chance (``<name>_chance``)."""
    nothing = np.full(len(cells.reference), np.nan)
    values = {}
    for one in measures:
        here = kind in one.kinds
        values[one.name] = one.statistic(cells) if here else nothing
        values[f"{one.name}_chance"] = one.null(cells) if here else nothing
    return values


@DRIFT_MEASURES.register("kl")
class KullbackLeibler(DriftMeasure):
    """How much the window surprises whoever knows the reference: KL(window ‖ reference).

    Natural logarithm, so in nats; half a row is added to every cell of both sides, as for PSI, so that a cell that
    was empty makes it large, not infinite. Without drift 2 KL / (1/n + 1/m) is about χ² of cells - 1 degrees.

    References
    ----------
    Kullback & Leibler 1951, "On information and sufficiency", Annals of Mathematical Statistics 22.
    """

    title = "Kullback–Leibler divergence"
    unit = "nats"
    advice = (
        "Kullback–Leibler divergence of a window from the reference (natural logarithm: nats; half a row is added to "
        "every cell); 0.1 is a usual level."
    )
    in_table = False

    def statistic(self, cells: CellCounts) -> FloatArray:
        """Return the divergence in nats, >= 0."""
        smooth = [
            np.nan_to_num(smoothed_shares(side, smoothing=0.5, cells=cells.exist))
            for side in (cells.current, cells.reference)
        ]
        return np.where(cells.known, kl_divergence(*smooth), np.nan)

    def null(self, cells: CellCounts) -> FloatArray:
        """Return the level in nats that chance exceeds once in 20."""
        return cells.chance / 2


@DRIFT_MEASURES.register("js")
class JensenShannon(DriftMeasure):
    """The root of the mean divergence of both sides from their mean, base 2: 0..1, 1 without a cell in common.

    Nothing is added to the cells: it is finite whatever is empty. Without drift 8 ln 2 d² / (1/n + 1/m) is about χ².

    References
    ----------
    Lin 1991, "Divergence measures based on the Shannon entropy", IEEE Trans. Information Theory 37; Endres & Schindelin
    2003, "A new metric for probability distributions", ibid. 49.
    """

    title = "Jensen–Shannon distance"
    label = "JS"
    advice = "Jensen–Shannon distance (root of the divergence, base 2: 0 to 1, no unit; nothing is added to the cells)."

    def statistic(self, cells: CellCounts) -> FloatArray:
        """Return the distance, 0..1."""
        return np.asarray(js_distance(cells.reference, cells.current))

    def null(self, cells: CellCounts) -> FloatArray:
        """Return the distance that chance exceeds once in 20."""
        return np.sqrt(cells.chance / (8 * np.log(2)))


@DRIFT_MEASURES.register("hellinger")
class Hellinger(DriftMeasure):
    """The Hellinger distance, 0..1. Without drift 8 d² / (1/n + 1/m) is about χ²."""

    title = "Hellinger distance"
    advice = "Hellinger distance (0 to 1, no unit)."
    in_table = False

    def statistic(self, cells: CellCounts) -> FloatArray:
        """Return the distance, 0..1."""
        return np.asarray(hellinger(cells.reference, cells.current))

    def null(self, cells: CellCounts) -> FloatArray:
        """Return the distance that chance exceeds once in 20."""
        return np.sqrt(cells.chance / 8)


@DRIFT_MEASURES.register("total_variation")
class TotalVariation(DriftMeasure):
    """The share of rows that would have to move to another cell, 0..1; what chance does is not known in closed form."""

    title = "Total variation"
    unit = "of rows"
    advice = "Total variation: the share of rows that moved to another cell (0 to 1)."
    in_table = False

    def statistic(self, cells: CellCounts) -> FloatArray:
        """Return the share, 0..1."""
        return np.asarray(total_variation(cells.reference, cells.current))
