"""The alert of one window: which alarms of drift are open after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tasks.core.alerts.alert import WARNED, Alarm, Alert, AlertLevel, next_alert
from tasks.core.config.monitoring import AlertsConfig
from tasks.core.data.clock import format_position
from tasks.core.drift.words import DriftKind, KindVerdict, Level, Moved, Phase


class Change(Protocol):
    """What the policy says of one alarm in one window (`tasks.core.drift.alarms.AlarmChange`)."""

    @property
    def kind(self) -> DriftKind:
        """Kind of drift."""

    @property
    def column(self) -> str:
        """The column that moved."""

    @property
    def change(self) -> str:
        """``opened``, ``worsened`` or ``resolved``."""

    @property
    def effect(self) -> float:
        """How far it moved, signed."""

    @property
    def since(self) -> float:
        """Clock position at which the alarm opened."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """One window as it was judged.

    Attributes
    ----------
    model, version : str, int | None
        The champion that was watched.
    phase : Phase
        Phase of the look.
    start, end : float
        The window, in positions.
    clock : str
        Unit of positions (`tasks.core.data.clock`).
    verdicts : sequence of KindVerdict
        What is said of each kind.
    changes : sequence of Change
        Alarms that opened, worsened, resolved.
    psi : mapping of str to float
        Population stability index by column.
    performance : mapping or None
        ``metric``, ``value``, ``low``, ``high``, ``reference``, ``drop``, ``estimated``, as ``--json`` has it.
    private : frozenset of str
        Columns of which no value is shown.
    link : str | None
        Where the window's page is.
    """

    model: str
    version: int | None
    phase: Phase
    start: float
    end: float
    clock: str
    verdicts: Sequence[KindVerdict]
    changes: Sequence[Change]
    psi: Mapping[str, float]
    performance: Mapping[str, Any] | None = None
    private: frozenset[str] = frozenset()
    link: str | None = None


def window_alert(look: Look, before: Alert | None, *, config: AlertsConfig) -> Alert:
    """Return the alert of a window; most windows' say nothing.

    An alarm opens once, worsens when the policy says so or when its column's PSI passes
    ``alerts.drift_critical``, and resolves once. A new champion closes what was open. Where ``alerts.level`` is
    ``warning``, a kind that warns has an alarm of its own until it is quiet again; INSUFFICIENT leaves it.

    Parameters
    ----------
    look : Look
        The window.
    before : Alert or None
        The alert of the phase's window before.
    config : AlertsConfig
        Levels.
    """
    kept = before.open if before and before.version == look.version else ()
    alarms = {alarm.key: alarm for alarm in kept if alarm.name != WARNED}
    worsened = _apply_changes(alarms, look) | _raise_levels(alarms, look, config)
    warnings = _warnings(look, kept, {kind for kind, _ in alarms}) if config.level == "warning" else ()
    now = Alert(
        model=look.model,
        topic=look.phase.value,
        version=look.version,
        number=0,
        start=format_position(look.start, clock=look.clock),
        end=format_position(look.end, clock=look.clock),
        open=(*alarms.values(), *warnings),
        performance=performance_sentence(look.performance),
        link=look.link,
    )
    return next_alert(before, now, worsened=sorted(worsened))


def performance_sentence(performance: Mapping[str, Any] | None) -> str:
    """Return what became of the metric.

    >>> performance_sentence({"metric": "roc_auc", "value": 0.8, "low": 0.78, "high": 0.82, "reference": 0.9,
    ...                       "drop": 0.111, "estimated": False})
    'roc_auc 0.8 (95 % interval 0.78 to 0.82), reference 0.9: 11.1 % worse.'
    """
    if not performance or performance.get("value") is None:
        return ""
    said = f"{performance['metric']} {performance['value']:.4g}"
    if performance.get("low") is not None and performance.get("high") is not None:
        said += f" (95 % interval {performance['low']:.4g} to {performance['high']:.4g})"
    if performance.get("reference") is not None:
        said += f", reference {performance['reference']:.4g}"
    if performance.get("drop") is not None:
        said += f": {abs(performance['drop']):.1%} ".replace("%", " %") + (
            "worse" if performance["drop"] >= 0 else "better"
        )
    return said + (", estimated without labels." if performance.get("estimated") else ".")


def _apply_changes(alarms: dict[tuple[str, str], Alarm], look: Look) -> set[tuple[str, str]]:
    """Carry the policy's changes out on what is open; return what has worsened."""
    moved = {(one.kind.value, one.column): one for verdict in look.verdicts for one in verdict.moved}
    worsened = set()
    for change in look.changes:
        key = (change.kind.value, change.column)
        if change.change == "resolved":
            alarms.pop(key, None)
            continue
        if key in alarms:
            worsened.add(key)
        since = alarms[key].since if key in alarms else format_position(change.since, clock=look.clock)
        alarms[key] = _alarm(change, moved.get(key), since=since, private=change.column in look.private)
    return worsened


def _alarm(change: Change, moved: Moved | None, *, since: str, private: bool) -> Alarm:
    return Alarm(
        kind=change.kind.value,
        name=change.column,
        since=since,
        said=_said(moved, private=private) if moved else f"moved by {change.effect:+.4g}",
        level=AlertLevel.DRIFT,
        effect=change.effect,
        confidence=moved.confidence if moved else None,
    )


def _said(moved: Moved, *, private: bool) -> str:
    """Say how a column moved; of a private one neither category nor value."""
    sure = f"confidence {moved.confidence:.4f}"
    if private:
        return f"{moved.signal.partition(':')[0]} moved ({sure})"
    return f"{moved.signal} {moved.observed:.4g} instead of {moved.expected:.4g} ({sure})"


def _raise_levels(
    alarms: dict[tuple[str, str], Alarm], look: Look, config: AlertsConfig
) -> set[tuple[str, str]]:
    """Call alarms critical whose column's PSI is; return those that were not before."""
    raised = set()
    for key, alarm in alarms.items():
        grave = look.psi.get(alarm.name, 0.0) >= config.drift_critical
        if grave and alarm.level is not AlertLevel.CRITICAL:
            alarms[key] = replace(alarm, level=AlertLevel.CRITICAL)
            raised.add(key)
    return raised


def _warnings(look: Look, kept: Sequence[Alarm], alarmed: set[str]) -> tuple[Alarm, ...]:
    """Return the alarms of kinds that warn and have no alarm of a column."""
    levels = {verdict.kind.value: verdict for verdict in look.verdicts}
    former = {alarm.kind: alarm for alarm in kept if alarm.name == WARNED}
    found = []
    for kind in (kind.value for kind in look.phase.kinds):
        verdict = levels.get(kind)
        unknown = verdict is None or verdict.level is Level.INSUFFICIENT
        if kind in alarmed or (unknown and kind not in former):
            continue
        if unknown or (verdict and verdict.level in (Level.WARNING, Level.DRIFT) and kind in former):
            found.append(former[kind])
        elif verdict and verdict.level in (Level.WARNING, Level.DRIFT):
            found.append(_warning(verdict, look))
    return tuple(found)


def _warning(verdict: KindVerdict, look: Look) -> Alarm:
    columns = list(dict.fromkeys(one.column for one in verdict.moved))
    more = f" and {len(columns) - 5} more" if len(columns) > 5 else ""
    return Alarm(
        kind=verdict.kind.value,
        name=WARNED,
        since=format_position(look.start, clock=look.clock),
        said=f"{', '.join(columns[:5])}{more} moved in this window alone" if columns else "warns",
        level=AlertLevel.WARNING,
    )
