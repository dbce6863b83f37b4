"""The table of a replay: a line a policy, and one for the baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tasks.core.pages.replay_phrases import NONE, interval, number, span
from tasks.core.pages.replayed import BASELINE, Replayed
from tasks.core.pages.watched import real

COUNTS = ("retrainings", "promotions", "refused", "alarms")


class Cell(NamedTuple):
    """What a cell shows, the number it is sorted by (NaN: last; None: it is text), and what stands beside it."""

    text: str
    value: float | None = None
    note: str = ""

    @property
    def line(self) -> str:
        """All of it on one line."""
        return f"{self.text} {self.note}".rstrip()


def policy_table(told: Replayed) -> tuple[tuple[str, ...], list[list[Cell]]]:
    """Return the names of the columns and the cells of each line; accuracy only where something is classified."""
    accuracy = has_accuracy(told)
    head = (
        "policy",
        f"mean {told.metric} [95 %]",
        *(("accuracy",) if accuracy else ()),
        "worst (window)",
        "windows",
        *COUNTS,
        "seconds",
        "regret",
    )
    return head, [_line(told, one, accuracy=accuracy) for one in told.everyone]


def has_accuracy(told: Replayed) -> bool:
    """Tell whether accuracy stands beside the metric."""
    return told.metric != "accuracy" and any(one["accuracy"] is not None for one in told.everyone)


def name_of(told: Replayed, policy: Mapping[str, Any]) -> str:
    """Return a policy's name as it is shown; the baseline's is a phrase."""
    return BASELINE if policy is told.baseline else str(policy["policy"])


def _line(told: Replayed, one: Mapping[str, Any], *, accuracy: bool) -> list[Cell]:
    where, lost = span(one["worst_window"]), int(one["undefined"])
    known = len(one["windows"]) - lost
    return [
        Cell(name_of(told, one)),
        Cell(number(one["mean"]), real(one["mean"]), interval(*one["mean_interval"])),
        *([Cell(number(one["accuracy"]), real(one["accuracy"]))] if accuracy else []),
        Cell(number(one["worst"]), real(one["worst"]), "" if where == NONE else f"({where})"),
        Cell(f"{known:,}", float(known), f"({lost:,} undefined)" if lost else ""),
        *_effort(told, one),
        Cell(number(one["regret"]), real(one["regret"])),
    ]


def _effort(told: Replayed, one: Mapping[str, Any]) -> list[Cell]:
    """Return what a policy did and took; the baseline does nothing."""
    if one is told.baseline:
        return [Cell(NONE, math.nan)] * (len(COUNTS) + 1)
    counts = [Cell(f"{one[name]:,}", float(one[name])) for name in COUNTS]
    return [*counts, Cell(f"{one['seconds']:,.1f}", float(one["seconds"]))]
