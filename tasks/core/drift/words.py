"""The words of monitoring: five kinds of drift, four levels, and what is said of a window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.core.verdict import Reason, State


class DriftKind(StrEnum):
    """What moved."""

    DATA = "data"
    PREDICTION = "prediction"
    OUTCOME = "outcome"
    CONCEPT = "concept"
    PERFORMANCE = "performance"


class Phase(StrEnum):
    """When a window is looked at: as soon as it is full, and again when its labels are due."""

    INPUTS = "inputs"
    OUTCOMES = "outcomes"

    @property
    def kinds(self) -> tuple[DriftKind, ...]:
        """Kinds of drift that can be measured in this phase."""
        if self is Phase.INPUTS:
            return DriftKind.DATA, DriftKind.PREDICTION
        return DriftKind.OUTCOME, DriftKind.CONCEPT, DriftKind.PERFORMANCE


class Level(StrEnum):
    """What is said of one kind of drift in one window; INSUFFICIENT never counts as 'no drift'."""

    INSUFFICIENT = "insufficient"
    QUIET = "quiet"
    WARNING = "warning"
    DRIFT = "drift"

    @property
    def state(self) -> State:
        """Name of the state of a run that ends so."""
        return State(self.value.capitalize())


_ORDER = (Level.INSUFFICIENT, Level.QUIET, Level.WARNING, Level.DRIFT)


def worst(levels: Iterable[Level]) -> Level:
    """Return the gravest level: drift, warning, quiet; INSUFFICIENT only where there is nothing else.

    >>> worst([Level.QUIET, Level.INSUFFICIENT]).value
    'quiet'
    """
    return max(levels, key=_ORDER.index, default=Level.INSUFFICIENT)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One column that moved, by how much, and how sure that is.

    Attributes
    ----------
    column : str
        A feature, or ``@score``, ``@decision``, ``@outcome``, ``@loss``, or the metric's name.
    kind : DriftKind
        Kind of drift.
    signal : str
        What of the column moved: ``location``, ``spread``, ``missing``, ``share:<group>``, ``information``,
        ``correlation``, ``level``.
    observed, expected : float
        The signal in the window, and in its reference.
    limit : float
        Largest |observed - expected| that is not called a move.
    p_value, adjusted_p_value : float
        Of this signal in this window; corrected for all columns of the kind (Benjamini & Hochberg 1995).
    alarm : bool
        True when the column's move is (part of) an alarm, False when it warns.
    """

    column: str
    kind: DriftKind
    signal: str
    observed: float
    expected: float
    limit: float
    p_value: float
    adjusted_p_value: float
    alarm: bool = False

    @property
    def confidence(self) -> float:
        """One minus the corrected p-value."""
        return 1.0 - self.adjusted_p_value

    @property
    def effect(self) -> float:
        """How far it moved, in the unit of the signal; signed."""
        return self.observed - self.expected

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, ``effect`` and ``confidence`` included."""
        return {**vars(self), "kind": self.kind.value, "effect": self.effect, "confidence": self.confidence}


@dataclass(frozen=True, kw_only=True)
class KindVerdict:
    """What is said of one kind of drift in one window.

    Attributes
    ----------
    kind : DriftKind
        Kind of drift.
    level : Level
        quiet, warning, drift or insufficient.
    moved : tuple of Moved
        The columns that moved, gravest first.
    reasons : tuple of Reason
        Why it is so; an INSUFFICIENT one says how many rows or windows would do.
    calibration : {'reference', 'theory', 'literal'}
        Where the limits come from.
    """

    kind: DriftKind
    level: Level
    moved: tuple[Moved, ...] = ()
    reasons: tuple[Reason, ...] = ()
    calibration: str = "reference"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind.value,
            "level": self.level.value,
            "moved": [one.to_dict() for one in self.moved],
            "reasons": [reason.to_dict() for reason in self.reasons],
            "calibration": self.calibration,
        }
