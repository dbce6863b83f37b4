"""A split as a frozen description: it can be stored with a version and applied again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.core.config.units import Span, parse_span
from tasks.core.data.clock import Window
from tasks.core.verdict import Reason

_NO_SPAN = Span(0.0, "seconds", "0s")


@dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """How labelled rows were divided, and what the version trained by it has not learned from.

    Attributes
    ----------
    method : {'time', 'random'}
        By the clock, or by a hash of each row's content.
    clock : str
        Unit of the windows (see ``tasks.core.data.clock``).
    training, holdout, evaluation : Window or None
        Half-open slices (method ``time``); None where a part does not exist. A row belongs to training only if
        its label was known, and ``purge`` over, when the next part begins.
    until : float or None
        As of when: nothing at or after it, no label known after it.
    unseen_from : float or None
        Rows from here on were neither learned from nor tuned on (method ``time``).
    change_at : float or None
        Position of the last detected change, where one was known: ``retraining.window: since_change`` begins here.
    purge, label_delay : Span
        The gap for overlapping targets; the time until a label is known where no column says it.
    time, label_time, group, target : str or None
        Columns with these roles when the plan was made.
    time_format : str or None
        How the clock's columns are written where that is not ISO 8601.
    max_rows : int or None
        Training keeps the newest rows up to this number.
    holdout_share, evaluation_share : float
        Shares of a random split (holdout: of what evaluation leaves).
    identity : tuple[str, ...]
        Columns whose content decides a row's part (method ``random``).
    seed : int
        Seed of a random split.
    notes : tuple[Reason, ...]
        What was decided on the way, e.g. a default window that did not fit.
    """

    method: Literal["time", "random"]
    clock: str = "timestamp"
    training: Window | None = None
    holdout: Window | None = None
    evaluation: Window | None = None
    until: float | None = None
    unseen_from: float | None = None
    change_at: float | None = None
    purge: Span = _NO_SPAN
    label_delay: Span = _NO_SPAN
    time: str | None = None
    time_format: str | None = None
    label_time: str | None = None
    group: str | None = None
    target: str | None = None
    max_rows: int | None = None
    holdout_share: float = 0.0
    evaluation_share: float = 0.0
    identity: tuple[str, ...] = ()
    seed: int = 0
    notes: tuple[Reason, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; windows carry exact positions and readable text."""
        windows = {name: getattr(self, name) for name in ("training", "holdout", "evaluation")}
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            **{name: w.to_dict(clock=self.clock) if w else None for name, w in windows.items()},
            "purge": str(self.purge),
            "label_delay": str(self.label_delay),
            "identity": list(self.identity),
            "notes": [reason.to_dict() for reason in self.notes],
        }

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> SplitPlan:
        """Return the plan written by ``to_dict``, also by one that knew of no changes yet."""
        plain = {"change_at": None, **plain}
        windows: dict[str, Any] = {
            name: Window.from_dict(plain[name]) if plain[name] else None
            for name in ("training", "holdout", "evaluation")
        }
        return cls(
            **{name: plain[name] for name in _PLAIN},
            **windows,
            purge=parse_span(plain["purge"]),
            label_delay=parse_span(plain["label_delay"]),
            identity=tuple(plain["identity"]),
            notes=tuple(Reason(**reason) for reason in plain["notes"]),
        )


_PLAIN = (
    "method",
    "clock",
    "until",
    "unseen_from",
    "change_at",
    "time",
    "time_format",
    "label_time",
    "group",
    "target",
    "max_rows",
    "holdout_share",
    "evaluation_share",
    "seed",
)
