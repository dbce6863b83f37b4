"""What was seen in one look at one window, and how the two looks at a window are told as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from evergreen.tasks.core.data.clock import Window, format_position
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, Phase, worst
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.verdict import Reason

MOST_MOVED = 20
"""Moved columns of one kind that the ledger keeps by name; the log has them all."""


@dataclass(frozen=True, kw_only=True)
class WindowResult:
    """One look at one window.

    Attributes
    ----------
    window : Window
        The slice of the clock.
    phase : Phase
        ``inputs`` as soon as it was full, ``outcomes`` when its labels were due.
    version : int
        The champion that was looked at.
    rows : int
        Rows of the window (phase ``outcomes``: those with a label).
    kinds : tuple of KindVerdict
        One verdict per kind of drift of the phase.
    changes : tuple of dict
        Alarms that opened, worsened or resolved with this window.
    columns : tuple of dict
        Distances of each column from the reference, for the reader.
    performance : dict | None
        The metric with its interval, measured or estimated; None where neither could be.
    notes : tuple of Reason
        What is worth knowing beside (labels that came late, rows from the future).
    """

    window: Window
    phase: Phase
    version: int
    rows: int
    kinds: tuple[KindVerdict, ...]
    changes: tuple[Mapping[str, Any], ...] = ()
    columns: tuple[Mapping[str, Any], ...] = ()
    performance: Mapping[str, Any] | None = None
    notes: tuple[Reason, ...] = ()

    @property
    def level(self) -> Level:
        """The gravest level of its kinds."""
        return worst(verdict.level for verdict in self.kinds)

    def to_entry(self, *, clock: str) -> dict[str, Any]:
        """Return what the ledger keeps: decisions and reasons, no distances."""
        plain = {
            **_place(self.window, clock),
            "phase": self.phase,
            "version": self.version,
            "n": self.rows,
            "level": self.level,
            "kinds": {verdict.kind.value: _short(verdict) for verdict in self.kinds},
            "changes": self.changes,
            "performance": self.performance,
            "psi": self._psi_of_moved(),
            "notes": self.notes,
        }
        return to_plain(plain)

    def _psi_of_moved(self) -> dict[str, float]:
        """Return the PSI of the columns that moved, for who asks how far."""
        moved = {one.column for verdict in self.kinds for one in verdict.moved[:MOST_MOVED]}
        return {one["column"]: one["psi"] for one in self.columns if one["column"] in moved}

    def to_dict(self, *, clock: str) -> dict[str, Any]:
        """Return everything, with all moved columns and all distances."""
        full = {verdict.kind: verdict for verdict in self.kinds}
        return {**self.to_entry(clock=clock), **to_plain({"kinds": full, "columns": self.columns})}


def merge_results(looks: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tell the looks at each window as one, in clock order.

    Parameters
    ----------
    looks : iterable of dict
        From ``Looked.to_dict`` or ``Looked.to_entry``, of both phases, in any order.

    Returns
    -------
    list of dict
        One a window: ``from``, ``to``, ``start``, ``end``, ``n``, ``labelled``, ``version``, ``level``, ``verdicts``
        (level by kind), ``kinds``, ``moved``, ``columns``, ``performance``, ``changes``, ``notes``. A kind whose time
        has not come is absent.
    """
    windows: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for look in looks:
        windows.setdefault((look["start"], look["end"]), []).append(look)
    return [_merged(windows[place]) for place in sorted(windows)]


def _merged(looks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    by_phase = {look["phase"]: look for look in looks}
    inputs, outcomes = by_phase.get("inputs"), by_phase.get("outcomes")
    first = inputs or outcomes or looks[0]
    found = {name: verdict for look in looks for name, verdict in look["kinds"].items()}
    kinds = {kind.value: found[kind.value] for kind in DriftKind if kind.value in found}
    verdicts = {name: verdict["level"] for name, verdict in kinds.items()}
    known = [look["performance"] for look in (outcomes, inputs) if look and look.get("performance")]
    return {
        **{name: first[name] for name in ("from", "to", "start", "end", "version")},
        "n": inputs["n"] if inputs else None,
        "labelled": outcomes["n"] if outcomes else None,
        "level": worst(map(Level, verdicts.values())).value,
        "verdicts": verdicts,
        "kinds": kinds,
        "moved": list(chain.from_iterable(verdict["moved"] for verdict in kinds.values())),
        "columns": list(chain.from_iterable(look.get("columns", ()) for look in looks)),
        "performance": known[0] if known else None,
        "changes": list(chain.from_iterable(look["changes"] for look in looks)),
        "notes": list(chain.from_iterable(look["notes"] for look in looks)),
    }


def _place(window: Window, clock: str) -> dict[str, Any]:
    return {
        "start": window.start,
        "end": window.end,
        "from": format_position(window.start, clock=clock),
        "to": format_position(window.end, clock=clock),
    }


def _short(verdict: KindVerdict) -> dict[str, Any]:
    plain = verdict.to_dict()
    return {**plain, "moved": plain["moved"][:MOST_MOVED], "moved_columns": len(plain["moved"])}
