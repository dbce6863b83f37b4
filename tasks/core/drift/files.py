"""What is said of two files: which columns drifted, which cannot be judged, and the state that follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from evergreen.tasks.core.drift.columns import ColumnMeasure
from evergreen.tasks.core.drift.types import listed
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Reason, State

_NAMED = 6


@dataclass(frozen=True, kw_only=True)
class FilesDrift(Struct):
    """Two files compared, column by column."""

    also: ClassVar = ("state", "reasons")
    reference: str
    current: str
    """``reference``, ``current``: names of the files."""
    columns: tuple[ColumnMeasure, ...]
    """Those measured, in the order of the reference."""
    lost: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    """``lost``, ``new``: columns of the reference alone, and of the current file alone."""
    changed: Mapping[str, str]
    """Columns whose kind of values changed, and how: not measured."""
    skipped: Mapping[str, str]
    """Columns that describe nothing (times, row names, nulls on both sides), and why: not measured."""
    unreadable: Mapping[str, str]
    """Columns that cannot be measured for another reason, and why."""

    @property
    def drifted(self) -> tuple[ColumnMeasure, ...]:
        """Columns that drifted, the most moved first."""
        return tuple(one for one in self.by_move if one.drifted)

    @property
    def by_move(self) -> tuple[ColumnMeasure, ...]:
        """All columns: drifted ones, then those not judged, then the others, each by falling PSI."""
        return tuple(sorted(self.columns, key=_place))

    @property
    def state(self) -> State:
        """Drift; else InsufficientData where anything could not be judged, or nothing was measured; else NoDrift."""
        if self.drifted:
            return State.DRIFT
        unsure = any(one.drifted is None for one in self.columns)
        gaps = self.lost or self.new or self.changed or self.unreadable
        return State.INSUFFICIENT_DATA if unsure or gaps or not self.columns else State.NO_DRIFT

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """What decided, one reason a cause."""
        return (*_moves(self), *_gaps(self), *_unjudged(self.columns)) or (_no_drift(self),)


def _place(one: ColumnMeasure) -> tuple[int, float, str]:
    group = 0 if one.drifted else 1 if one.drifted is None else 2
    return group, -one.psi if math.isfinite(one.psi) else 0.0, one.column


def _moves(drift: FilesDrift) -> list[Reason]:
    if not drift.drifted:
        return []
    names = listed([one.column for one in drift.drifted], most=_NAMED)
    verb = "columns" if len(drift.columns) != 1 else "column"
    message = f"{len(drift.drifted)} of {len(drift.columns)} {verb} drifted: {names}."
    return [Reason(code="drift", message=message, observed=float(len(drift.drifted)), limit=0.0)]


def _gaps(drift: FilesDrift) -> list[Reason]:
    reasons = []
    for code, names, text in (
        ("lost_column", list(drift.lost), "Lost: {} of the reference is not in the current file."),
        ("new_column", list(drift.new), "New: {} of the current file is not in the reference."),
        ("type_changed", _describe(drift.changed), "Not comparable: {}."),
        ("unreadable", _describe(drift.unreadable), "Not comparable: {}."),
    ):
        if names:
            message = text.format(listed(names, most=_NAMED))
            reasons.append(Reason(code=code, message=message, observed=float(len(names)), limit=0.0))
    return reasons


def _unjudged(columns: Sequence[ColumnMeasure]) -> list[Reason]:
    """Return one reason a cause, with the columns it holds for."""
    by_code: dict[str, list[tuple[str, Reason]]] = {}
    for one in columns:
        if one.reason is not None:
            by_code.setdefault(one.reason.code, []).append((one.column, one.reason))
    return [_together(some) for some in by_code.values()]


def _together(some: Sequence[tuple[str, Reason]]) -> Reason:
    first = some[0][1]
    if len(some) == 1:
        return first
    names = listed([name for name, _ in some], most=_NAMED)
    return replace(first, message=f"{len(some)} columns cannot be judged ({names}): {first.message}")


def _no_drift(drift: FilesDrift) -> Reason:
    if not drift.columns:
        message = "No column that both files hold can be measured."
        return Reason(code="no_columns", message=message, observed=0.0)
    rows = drift.columns[0]
    message = (
        f"None of {len(drift.columns)} columns drifted ({rows.n:,} rows against {rows.reference_n:,}); "
        f"the most moved is '{drift.by_move[0].column}' with PSI {drift.by_move[0].psi:.3g}."
    )
    return Reason(code="quiet", message=message, observed=drift.by_move[0].psi, n=rows.n)


def _describe(reasons: Mapping[str, str]) -> list[str]:
    return [f"'{name}' {why}" for name, why in reasons.items()]
