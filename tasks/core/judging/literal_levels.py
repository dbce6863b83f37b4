"""What the fixed levels of the literal policy say of each column of one window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.drift.measures import ColumnMeasure
from tasks.core.drift.signals import Signals
from tasks.core.drift.words import DriftKind, Level, Moved
from tasks.core.judging.budget import Policy
from tasks.core.judging.look import align
from tasks.core.judging.null import Null
from tasks.core.metrics.scored import FloatArray
from tasks.core.verdict import Reason

_MEASURED = (DriftKind.DATA, DriftKind.PREDICTION)
_UNKNOWN = "could not be measured in this window"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the fixed levels say of one column.

    Attributes
    ----------
    kind, column : DriftKind, str
        Which.
    level : Level
        quiet, warning, drift or insufficient.
    moved : Moved | None
        What passed a level.
    reason : Reason | None
        Why nothing can be said.
    """

    kind: DriftKind
    column: str
    level: Level
    moved: Moved | None = None
    reason: Reason | None = None


def read_measures(
    measures: Sequence[ColumnMeasure], kinds: Sequence[DriftKind], policy: Policy
) -> Iterator[Finding]:
    """Yield a finding for each measured feature (data) and answer (``@…``: prediction)."""
    for one in measures:
        kind = DriftKind.PREDICTION if one.column[:1] == "@" else DriftKind.DATA
        if kind in kinds and one.column != "@outcome":
            yield _measured(kind, one, policy)


def read_signals(signals: Signals, null: Null, policy: Policy, *, position: float) -> Iterator[Finding]:
    """Yield a finding for the outcome, the loss and the metric; other signals have no literal level."""
    observed, _, floors = align(signals, null)
    expected = null.scale.back(null.expect(position))
    for place, (kind, column) in enumerate(null.columns):
        mine = null.places == place
        if kind is DriftKind.OUTCOME:
            yield _outcome(
                column, observed[mine & null.scale.shares], expected[mine & null.scale.shares], policy
            )
            continue
        levels = np.array([key.name == "level" for key in null.keys]) & mine
        if kind not in _MEASURED and levels.any():
            at = int(np.flatnonzero(levels)[0])
            effect = (observed[at] - expected[at]) * (int(null.sides[at]) or 1)
            yield _finding(
                kind,
                column,
                "level",
                observed[at],
                expected[at],
                limit=floors[at],
                beyond=effect >= floors[at],
            )


def _measured(kind: DriftKind, one: ColumnMeasure, policy: Policy) -> Finding:
    if one.drifted is None or not np.isfinite(one.psi):
        reason = one.reason or Reason(code="not_measured", message=f"{one.column} {_UNKNOWN}")
        return Finding(kind=kind, column=one.column, level=Level.INSUFFICIENT, reason=reason)
    critical, unlikely = one.psi >= policy.psi_critical, one.p_value < policy.significance
    if unlikely and not critical:
        return _finding(
            kind, one.column, "p_value", one.p_value, 1.0, limit=1 - policy.significance, beyond=True,
            p_values=(one.p_value, one.adjusted_p_value),
        )  # fmt: skip
    limit = policy.psi_critical if critical else policy.psi_warning
    return _finding(
        kind, one.column, "psi", one.psi, 0.0, limit=limit, beyond=one.psi >= policy.psi_warning,
        p_values=(one.p_value, one.adjusted_p_value), alarm=critical,
    )  # fmt: skip


def _outcome(column: str, observed: FloatArray, expected: FloatArray, policy: Policy) -> Finding:
    """Total variation of the outcome's classes or groups, ``missing`` among them."""
    distance = float(np.abs(observed - expected).sum() / 2)
    limit = policy.outcome_threshold
    return _finding(
        DriftKind.OUTCOME, column, "total_variation", distance, 0.0, limit=limit, beyond=distance > limit
    )


def _finding(
    kind: DriftKind,
    column: str,
    signal: str,
    observed: float,
    expected: float,
    *,
    limit: float,
    beyond: bool,
    p_values: tuple[float, float] = (1.0, 1.0),
    alarm: bool = True,
) -> Finding:
    if not np.isfinite(observed - expected) or not np.isfinite(limit):
        reason = Reason(code="not_measured", message=f"{column} {_UNKNOWN}")
        return Finding(kind=kind, column=column, level=Level.INSUFFICIENT, reason=reason)
    if not beyond:
        return Finding(kind=kind, column=column, level=Level.QUIET)
    p_value, adjusted = (float(np.nan_to_num(one, nan=1.0)) for one in p_values)
    moved = Moved(
        column=column, kind=kind, signal=signal, observed=float(observed), expected=float(expected),
        limit=float(limit), p_value=p_value, adjusted_p_value=adjusted, alarm=alarm,
    )  # fmt: skip
    return Finding(kind=kind, column=column, level=Level.DRIFT if alarm else Level.WARNING, moved=moved)
