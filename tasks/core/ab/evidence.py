"""The evidence of a live test: sufficient statistics by variant, added up batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from tasks.core.ab.units import ObjectArray, UnitTable
from tasks.core.stats.joint_moments import JointMoments

_COLUMNS = (
    3  # numbers a unit of pairs: rows, the control's and the challenger's value; of arms rows and value
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """What is known of one arm, or of the pairs of one challenger with the control.

    Attributes
    ----------
    singles : JointMoments
        Rows that are units of their own.
    table : UnitTable
        Units that may bring more than one row; those without a row that counts are in it too.
    lost, won : int
        Pairs that only the control, and only the challenger, has right.
    counts : Counter
        ``due`` (old enough), ``labelled``, ``counted``, ``undefined``, ``clipped``, ``unpaired`` (no shadow answered),
        ``single_due`` (units of one row that are due).
    """

    singles: JointMoments = field(default_factory=lambda: JointMoments.empty(_COLUMNS))
    table: UnitTable = field(
        default_factory=lambda: UnitTable(names=np.empty(0, dtype=object), sums=np.empty((0, _COLUMNS)))
    )
    lost: int = 0
    won: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Side) -> Side:
        """Return both together."""
        return Side(
            singles=self.singles + other.singles, table=self.table + other.table, lost=self.lost + other.lost,
            won=self.won + other.won, counts=self.counts + other.counts,
        )  # fmt: skip

    def moments(self, *, without: ObjectArray | None = None) -> JointMoments:
        """Return the moments over all units that count."""
        table = self.table if without is None else self.table.without(without)
        rows = table.counted
        return self.singles + JointMoments.of(rows) if len(rows) else self.singles

    def assigned(self) -> int:
        """Return the units that are due, with or without an outcome."""
        return self.counts["single_due"] + len(self.table)

    def labelled(self) -> int:
        """Return the units of which an outcome counts."""
        return int(self.singles.n) + len(self.table.counted)


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """One metric's evidence: by arm (mode ``arms``), or by challenger (mode ``paired``).

    Batches whose rows are disjoint add up to the evidence of all rows.
    """

    sides: Mapping[str, Side] = field(default_factory=dict)

    def __add__(self, other: Evidence) -> Evidence:
        """Return the evidence of both batches."""
        names = [*self.sides, *(name for name in other.sides if name not in self.sides)]
        return Evidence(sides={name: _sum(self.sides.get(name), other.sides.get(name)) for name in names})

    def side(self, name: str) -> Side:
        """Return an arm's evidence; an empty one when nothing was seen of it."""
        return self.sides.get(name) or Side()

    def crossed(self) -> ObjectArray:
        """Return the units that more than one arm answered: their rows count in none."""
        tables = [side.table for side in self.sides.values()]
        shared = [
            np.intersect1d(a.names.astype(str), b.names.astype(str)) for a, b in combinations(tables, 2)
        ]
        found: ObjectArray = (
            np.unique(np.concatenate(shared)).astype(object) if shared else np.empty(0, object)
        )
        return found


def _sum(one: Side | None, other: Side | None) -> Side:
    return (one or Side()) if other is None else other if one is None else one + other
