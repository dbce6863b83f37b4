"""Alarms that are open, and an alert: what changed among them, to be told once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any


class AlertLevel(StrEnum):
    """How grave an alarm or an alert is; ``info`` tells that something is over."""

    INFO = "info"
    WARNING = "warning"
    DRIFT = "drift"
    CRITICAL = "critical"


ORDER = tuple(AlertLevel)
"""Levels, the gravest last."""

WARNED = "(window)"
"""Name of the alarm of a kind of drift that warns without an alarm of a column."""

HEALTH = "health"
"""Kind of an alarm, and topic of an alert, that is about the machinery and not about drift."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One thing that is wrong.

    Attributes
    ----------
    kind : str
        Kind of drift, or ``health``.
    name : str
        The column that moved, or the check that failed.
    since : str
        When it began, as text: on the model's clock for drift, in UTC for health.
    said : str
        What is seen, without values of private columns.
    level : AlertLevel
        warning, drift or critical.
    effect, confidence : float | None
        How far it moved, signed; one minus the corrected p-value.
    """

    kind: str
    name: str
    since: str
    said: str
    level: AlertLevel
    effect: float | None = None
    confidence: float | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What the alarm is about."""
        return self.kind, self.name

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Alarm:
        """Return the alarm written by `Alert.to_dict`."""
        return cls(**{**plain, "level": AlertLevel(plain["level"])})


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What changed among the alarms of one topic, and which are open afterwards.

    One is kept with every window, and with every change of health; most say nothing.

    Attributes
    ----------
    model, topic : str
        The model; ``inputs``, ``outcomes`` or ``health``.
    version : int | None
        Champion at that time.
    number : int
        How many alerts of this topic have said something so far, this one included.
    start, end : str
        The window, as text on the model's clock (health: the moment, in UTC).
    opened, worsened, resolved : tuple of Alarm
        What changed.
    open : tuple of Alarm
        All that is open afterwards, in the order in which it began.
    performance : str
        What became of the metric, in a sentence; empty where it is not known.
    link : str | None
        Where to look.
    entry_id : str | None
        The ledger's entry it was read from.
    """

    model: str
    topic: str
    version: int | None
    number: int
    start: str
    end: str
    opened: tuple[Alarm, ...] = ()
    worsened: tuple[Alarm, ...] = ()
    resolved: tuple[Alarm, ...] = ()
    open: tuple[Alarm, ...] = ()
    performance: str = ""
    link: str | None = None
    entry_id: str | None = None

    @property
    def speaks(self) -> bool:
        """True when something changed that is worth a message."""
        return bool(self.opened or self.worsened or self.resolved)

    @property
    def change(self) -> str:
        """The gravest change: opened, worsened, resolved, or none."""
        changes = ("opened", "worsened", "resolved")
        return next((name for name in changes if getattr(self, name)), "none")

    @property
    def key(self) -> str:
        """Stable name of the message: a receiver who sees it twice may drop the second."""
        return f"{self.model}/{self.topic}/{self.end}/{self.change}"

    @property
    def level(self) -> AlertLevel:
        """The gravest of what opened or worsened; ``info`` when things only resolved."""
        levels = [alarm.level for alarm in (*self.opened, *self.worsened)]
        return max(levels, key=ORDER.index, default=AlertLevel.INFO)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, ``key``, ``change`` and ``level`` included."""
        return {**asdict(self), "key": self.key, "change": self.change, "level": self.level.value}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Alert:
        """Return the alert written by ``to_dict``."""
        own = {name: plain[name] for name in plain if name not in {"key", "change", "level"}}
        alarms = {name: tuple(map(Alarm.from_dict, own[name])) for name in _ALARMS}
        return cls(**{**own, **alarms})


_ALARMS = ("opened", "worsened", "resolved", "open")


def next_alert(before: Alert | None, now: Alert, *, worsened: Sequence[tuple[str, str]] = ()) -> Alert:
    """Return an alert with its changes: what is open now against what was open before.

    Parameters
    ----------
    before : Alert or None
        The topic's alert before this one.
    now : Alert
        Knows which alarms are open; its changes and number are set here.
    worsened : sequence of (kind, name)
        Those that have become worse.
    """
    former = {alarm.key: alarm for alarm in before.open} if before else {}
    current = {alarm.key for alarm in now.open}
    made = replace(
        now,
        opened=tuple(alarm for alarm in now.open if alarm.key not in former),
        worsened=tuple(alarm for alarm in now.open if alarm.key in former and alarm.key in set(worsened)),
        resolved=tuple(a for key, a in former.items() if key not in current and not _has_grown(a, now)),
    )
    return replace(made, number=(before.number if before else 0) + made.speaks)


def _has_grown(alarm: Alarm, now: Alert) -> bool:
    """Return True for a warning that is gone because its kind has an alarm now."""
    return alarm.name == WARNED and any(other.kind == alarm.kind for other in now.open)


def summed(told: Alert | None, since: Sequence[Alert]) -> Alert:
    """Return the alerts since one was told as a single alert: the newest state, and how it differs.

    Parameters
    ----------
    told : Alert or None
        The newest that was told; None: nothing was ever told, so that all that is open is news.
    since : sequence of Alert
        The later ones, oldest first; at least one.
    """
    worse = [alarm.key for alert in since for alarm in (*alert.opened, *alert.worsened)]
    return replace(next_alert(told, since[-1], worsened=worse), number=since[-1].number)
