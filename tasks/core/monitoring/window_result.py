"""The result of a window's check, the two checks of a window as one, and how a monitoring run ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from evergreen.tasks.core.data.clock import Window, format_position
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, Phase, worst
from evergreen.tasks.core.serial import to_plain
from evergreen.tasks.core.verdict import Reason, StageResult

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
        moved = {one.column for verdict in self.kinds for one in verdict.moved[:MOST_MOVED]}
        kinds = {verdict.kind: verdict.to_dict() for verdict in self.kinds}
        plain = {
            "start": self.window.start,
            "end": self.window.end,
            "from": format_position(self.window.start, clock=clock),
            "to": format_position(self.window.end, clock=clock),
            "phase": self.phase,
            "version": self.version,
            "n": self.rows,
            "level": self.level,
            "kinds": {
                kind: {**one, "moved": one["moved"][:MOST_MOVED], "moved_columns": len(one["moved"])}
                for kind, one in kinds.items()
            },
            "changes": self.changes,
            "performance": self.performance,
            "psi": {one["column"]: one["psi"] for one in self.columns if one["column"] in moved},
            "notes": self.notes,
        }
        return to_plain(plain)

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


# How a monitoring run ends: one state for a model, from its windows and its open alarms.


MOST_NAMED = 5
"""Columns a sentence names before it counts the others."""


def conclude_monitoring(
    model: str,
    windows: Sequence[Mapping[str, Any]],
    *,
    version: int,
    open_alarms: Sequence[Mapping[str, Any]] | None = None,
    fresh: bool = True,
    notes: Sequence[Reason] = (),
    details: Mapping[str, Any] | None = None,
) -> StageResult:
    """Return a run's result.

    Parameters
    ----------
    windows : sequence of dict
        The windows of this run, in clock order, as `evergreen.tasks.core.monitoring.window_result.merge_results`
        tells them.
    version : int
        The champion.
    open_alarms : sequence of dict, optional
        Alarms that are open now (``kind``, ``column``, ``since``). None: a past range was looked at again, and the
        gravest of its windows counts.
    fresh : bool
        False where nothing was due, and the windows are the newest that earlier runs have looked at.
    notes : sequence of Reason
        Further reasons, as they are.
    details : mapping, optional
        Further facts of the run.
    """
    level = worst(Level(window["level"]) for window in windows)
    if open_alarms is not None:
        level = _now(windows, open_alarms)
    reasons = (_reason(level, windows, open_alarms or (), fresh=fresh), *_insufficient(windows), *notes)
    facts = {"windows": list(windows), "open_alarms": list(open_alarms or ()), **(details or {})}
    return StageResult(state=level.state, model=model, version=version, reasons=reasons, details=facts)


def newest_levels(windows: Sequence[Mapping[str, Any]]) -> dict[str, Level]:
    """Return the newest level of each kind that could be judged; INSUFFICIENT for one that never could."""
    found: dict[str, Level] = {}
    for window in windows:
        for kind, text in window["verdicts"].items():
            level = Level(text)
            if level is not Level.INSUFFICIENT or kind not in found:
                found[kind] = level
    return found


def _now(windows: Sequence[Mapping[str, Any]], open_alarms: Sequence[Mapping[str, Any]]) -> Level:
    if open_alarms:
        return Level.DRIFT
    newest = worst(newest_levels(windows).values())
    judged = [window for window in windows if window["verdicts"]]
    if newest is Level.QUIET and judged[-1]["level"] == Level.INSUFFICIENT.value:
        return Level.INSUFFICIENT  # quiet windows before say nothing of one that could not be judged
    return Level.WARNING if newest is Level.DRIFT else newest


def _reason(
    level: Level,
    windows: Sequence[Mapping[str, Any]],
    open_alarms: Sequence[Mapping[str, Any]],
    *,
    fresh: bool,
) -> Reason:
    n = sum(window["n"] or 0 for window in windows)
    if not windows:
        return Reason(code="no_window", message="No window was full and due.", n=0)
    span = f"{len(windows)} window(s) from {windows[0]['from']} to {windows[-1]['to']}"
    if not fresh:
        span = f"No window was due; the newest, from {windows[0]['from']} to {windows[-1]['to']}"
    if level is Level.DRIFT and open_alarms:
        alarms = _listed([f"{one['column']} ({one['kind']}, since {one['since']})" for one in open_alarms])
        return Reason(code="drift", message=f"{span}: alarm: {alarms}.", observed=len(open_alarms), n=n)
    if level in (Level.DRIFT, Level.WARNING):
        columns = sorted({f"{one['column']} ({one['kind']})" for w in windows for one in w["moved"]})
        message = f"{span}: {_listed(columns)} moved."
        return Reason(code=level.value, message=message, observed=len(columns), n=n)
    if level is Level.QUIET:
        return Reason(code="quiet", message=f"{span}: nothing moved more than chance allows.", n=n)
    known = any(window["level"] != Level.INSUFFICIENT.value for window in windows)
    which = "the newest" if known else "none"
    return Reason(
        code="insufficient", message=f"{span}: {which} could {'not ' if known else ''}be judged.", n=n
    )


def _insufficient(windows: Sequence[Mapping[str, Any]]) -> list[Reason]:
    """Return why kinds could not be judged in the newest window that says so, once a kind and code."""
    found: dict[tuple[str, str], Reason] = {}
    for window in windows:
        for kind in DriftKind:
            verdict = window["kinds"].get(kind.value)
            if verdict is None or verdict["level"] != Level.INSUFFICIENT.value:
                continue
            for reason in verdict["reasons"]:
                message = f"{kind.value}, window from {window['from']}: {reason['message']}"
                found[kind.value, reason["code"]] = Reason(**{**reason, "message": message})
    return list(found.values())


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
