"""The sentences of a replay: which policy is best, how the configured one stands, what no model beats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.drift.types import Level, listed, short_time
from evergreen.tasks.core.errors import counted
from evergreen.tasks.core.reports.monitored_model import real
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.dependence import MeanInterval, mean_over_windows
from evergreen.tasks.core.verdict import State

# A replay as its pages read it: the JSON form, with the best policy, the direction and paired differences.


BASELINE = "same as last label"
PROMOTED = State.PROMOTED.value
UNCONDITIONAL = ("never", "every")
"""Policies that decide nothing."""


@dataclass(frozen=True, kw_only=True)
class ReplayDocument(Struct):
    """What a replay found, as its pages read it from ``replay.results.ReplayResult.to_dict``.

    That has ``model``, ``start`` and ``clock`` beside it.
    """

    model: str
    clock: str
    """Unit of the windows' ends."""
    start: str
    """Where the first model was trained."""
    policies: tuple[Mapping[str, Any], ...]
    """In the order asked for (`evergreen.tasks.core.replay.results.PolicyResult.to_dict`)."""
    baseline: Mapping[str, Any] | None
    """'Same as the last label', in the same form."""
    pareto: tuple[Mapping[str, Any], ...]
    """Quality, retrainings, gap and front by policy."""
    notes: tuple[Mapping[str, Any], ...]
    """What a reader should know."""

    @property
    def metric(self) -> str:
        """The deciding metric."""
        return str(self.policies[0]["metric"])

    @property
    def sign(self) -> int:
        """Direction in which the metric is better."""
        return 1 if self.policies[0]["higher_is_better"] else -1

    @property
    def direction(self) -> str:
        """The direction for people."""
        return "higher is better" if self.sign > 0 else "lower is better"

    @property
    def windows(self) -> Sequence[Mapping[str, Any]]:
        """The windows that all policies answered."""
        windows: Sequence[Mapping[str, Any]] = self.policies[0]["windows"]
        return windows

    @property
    def everyone(self) -> tuple[Mapping[str, Any], ...]:
        """The policies, and the baseline where there is one."""
        return (*self.policies, self.baseline) if self.baseline else self.policies

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The best mean, of equal ones that with the fewest retrainings; None where none has a mean."""
        ranked = [one for one in self.policies if math.isfinite(real(one["mean"]))]
        return min(
            ranked, key=lambda one: (-self.sign * float(one["mean"]), one["retrainings"]), default=None
        )

    @property
    def subject(self) -> Mapping[str, Any] | None:
        """The policy that is reported: as configured, or the best where that was not replayed."""
        return self.named("configured") or self.best

    def named(self, name: str) -> Mapping[str, Any] | None:
        """Return a policy by name; None where it was not replayed."""
        return next((one for one in self.policies if one["policy"] == name), None)

    def lead(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> MeanInterval:
        """Return how much better ``one`` is per window than ``other``, on the windows where both have a value."""
        return mean_over_windows(self.leads(one, other))

    def leads(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> FloatArray:
        """Return by how much one is better in each window; NaN where either has no value."""
        return self.sign * (values_of(one) - values_of(other))


def values_of(policy: Mapping[str, Any]) -> FloatArray:
    """Return a policy's metric by window; NaN where it is undefined."""
    return np.array([real(window["value"]) for window in policy["windows"]], dtype=np.float64)


def decisions_by_window(policy: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return each decision with the window after which it was taken; a policy decides after every one, or never."""
    decisions = policy["decisions"]
    return list(zip(policy["windows"], decisions, strict=True)) if decisions else []


def opened_alarms(policy: Mapping[str, Any]) -> list[tuple[int, list[str]]]:
    """Return the places of windows at which alarms opened, and the kinds of drift they are of."""
    opened, before = [], dict[str, str]()
    for place, window in enumerate(policy["windows"]):
        now = window["levels"]
        kinds = [kind for kind in now if now[kind] == Level.DRIFT != before.get(kind)]
        opened += [(place, kinds)] if kinds else []
        before = now
    return opened


Policy = Mapping[str, Any]
NONE = "–"


def headline(document: ReplayDocument) -> list[str]:
    """Return the sentences that matter most, in their order."""
    return [_best(document), *_standing(document), *_last_label(document)]


def number(value: Any, *, signed: bool = False) -> str:
    """Write a number for people: four digits, a dash for what is undefined.

    >>> number(0.123456), number(12345.6), number(None), number(0.02, signed=True), number(0.0)
    ('0.1235', '12,346', '–', '+0.02', '0')
    """
    plain = real(value)
    if not math.isfinite(plain):
        return NONE
    if abs(plain) >= 1000:
        return f"{plain:{'+' if signed else ''},.0f}"
    return f"{plain:{'+' if signed else ''}.4g}"


def interval(low: Any, high: Any) -> str:
    """Write an interval, nothing where it has no end.

    >>> interval(0.1, 0.25), interval(None, None)
    ('[0.1, 0.25]', '')
    """
    return f"[{number(low)}, {number(high)}]" if math.isfinite(real(low)) else ""


def times(many: int) -> str:
    """Write a number of retrainings.

    >>> times(1), times(12)
    ('1 retraining', '12 retrainings')
    """
    return counted(many, "retraining")


def span(window: Mapping[str, Any]) -> str:
    """Write from where to where a window goes; a dash for none.

    >>> span({"from": "1000", "to": "2000"}), span({"from": None, "to": None})
    ('1000 to 2000', '–')
    """
    return NONE if window["from"] is None else f"{short_time(window['from'])} to {short_time(window['to'])}"


def _best(document: ReplayDocument) -> str:
    best = document.best
    if best is None:
        return f"No policy has a value of {document.metric} in any window."
    many = len(document.policies)
    of = "The one policy" if many == 1 else f"The best of {many} policies"
    sentence = f"{of} by mean {document.metric} ({document.direction}): {best['policy']}, {number(best['mean'])} with "
    same = [one["policy"] for one in document.policies if one is not best and one["mean"] == best["mean"]]
    tied = f"; {listed(same)} {'comes' if len(same) == 1 else 'come'} to the same mean" if same else ""
    return f"{sentence}{times(best['retrainings'])}{tied}."


def _standing(document: ReplayDocument) -> Iterator[str]:
    """Yield how the policy that is reported stands to the best, to every and to never."""
    mine, best = document.subject, document.best
    if mine is None or best is None or not math.isfinite(real(mine["mean"])):
        return
    if mine["policy"] != best["policy"] and mine["mean"] != best["mean"]:
        share = f" ({mine['relative_regret']:.2%})" if mine["relative_regret"] is not None else ""
        yield (
            f"{mine['policy']} reaches {number(mine['mean'])}, {number(mine['regret'])}{share} behind the best, with "
            f"{times(mine['retrainings'])}."
        )
    for name, say in (("every", _against_always_refit), ("never", _against_never_retrain)):
        other = document.named(name)
        if other is not None and other is not mine and math.isfinite(real(other["mean"])):
            yield say(document, mine, other)


def _against_always_refit(document: ReplayDocument, mine: Policy, every: Policy) -> str:
    ratio = mine["mean"] / every["mean"] if min(mine["mean"], every["mean"]) > 0 else math.nan
    if not math.isfinite(ratio):
        quality = f"a mean {number(document.lead(mine, every).mean, signed=True)} better than its mean"
    elif document.sign > 0:
        quality = f"{ratio:.1%} of its mean"
    else:
        quality = f"{ratio:.3f} times its error"
    part = f" ({mine['retrainings'] / every['retrainings']:.0%})" if every["retrainings"] else ""
    return (
        f"Against every, which refits at each window, {mine['policy']} comes to {quality} with "
        f"{mine['retrainings']:,} against {times(every['retrainings'])}{part}."
    )


def _against_never_retrain(document: ReplayDocument, mine: Policy, never: Policy) -> str:
    lead = document.lead(mine, never)
    name = mine["policy"]
    if lead.n and not np.nan_to_num(document.leads(mine, never)).any():
        return f"{name} does not beat never: it has the same values in every window."
    size = f"{number(abs(lead.mean))} a window"
    if lead.low > 0:
        return f"{name} beats never by {size} {_sure(lead)}."
    if lead.high < 0:
        return f"{name} is worse than never by {size} {_sure(lead)}."
    size = f"{number(lead.mean, signed=True)} a window, positive is better"
    return f"{name} cannot be told from never: {size} {_sure(lead)}."


def _sure(lead: MeanInterval) -> str:
    ends = interval(lead.low, lead.high)
    return f"(95 % {ends}, {lead.n} windows)" if ends else f"({lead.n} window)"


def _last_label(document: ReplayDocument) -> Iterator[str]:
    """Yield a sentence where 'same as the last label' beats every model on accuracy, or on the metric."""
    if document.baseline is None:
        return
    for name, field, sign in (("accuracy", "accuracy", 1), (document.metric, "mean", document.sign)):
        mine = real(document.baseline[field])
        values = {one["policy"]: real(one[field]) for one in document.policies}
        others = {policy: value for policy, value in values.items() if math.isfinite(value)}
        if not others or not math.isfinite(mine) or (field == "accuracy" and name == document.metric):
            continue
        best = max(others, key=lambda policy: sign * others[policy])
        if sign * mine > sign * others[best]:
            yield (
                f"'Same as the last label', which needs no model, beats every policy on {name}: {number(mine)} against "
                f"{number(others[best])} of {best}."
            )


# The table of a replay: a line a policy, and one for the baseline.


COUNTS = ("retrainings", "promotions", "refused", "alarms")


class TableCell(NamedTuple):
    """What a cell shows, the number it is sorted by (NaN: last; None: it is text), and what stands beside it."""

    text: str
    value: float | None = None
    note: str = ""

    @property
    def line(self) -> str:
        """All of it on one line."""
        return f"{self.text} {self.note}".rstrip()


def policy_table(document: ReplayDocument) -> tuple[tuple[str, ...], list[list[TableCell]]]:
    """Return the names of the columns and the cells of each line; accuracy only where something is classified."""
    accuracy = has_accuracy(document)
    head = (
        "policy",
        f"mean {document.metric} [95 %]",
        *(("accuracy",) if accuracy else ()),
        "worst (window)",
        "windows",
        *COUNTS,
        "seconds",
        "regret",
    )
    return head, [_line(document, one, accuracy=accuracy) for one in document.everyone]


def has_accuracy(document: ReplayDocument) -> bool:
    """Tell whether accuracy stands beside the metric."""
    return document.metric != "accuracy" and any(one["accuracy"] is not None for one in document.everyone)


def name_of(document: ReplayDocument, policy: Mapping[str, Any]) -> str:
    """Return a policy's name as it is shown; the baseline's is a phrase."""
    return BASELINE if policy is document.baseline else str(policy["policy"])


def _line(document: ReplayDocument, one: Mapping[str, Any], *, accuracy: bool) -> list[TableCell]:
    where, undefined = span(one["worst_window"]), int(one["undefined"])
    defined = len(one["windows"]) - undefined
    return [
        TableCell(name_of(document, one)),
        TableCell(number(one["mean"]), real(one["mean"]), interval(*one["mean_interval"])),
        *([TableCell(number(one["accuracy"]), real(one["accuracy"]))] if accuracy else []),
        TableCell(number(one["worst"]), real(one["worst"]), "" if where == NONE else f"({where})"),
        TableCell(f"{defined:,}", float(defined), f"({undefined:,} undefined)" if undefined else ""),
        *_effort(document, one),
        TableCell(number(one["regret"]), real(one["regret"])),
    ]


def _effort(document: ReplayDocument, one: Mapping[str, Any]) -> list[TableCell]:
    """Return what a policy did and took; the baseline does nothing."""
    if one is document.baseline:
        return [TableCell(NONE, math.nan)] * (len(COUNTS) + 1)
    counts = [TableCell(f"{one[name]:,}", float(one[name])) for name in COUNTS]
    return [*counts, TableCell(f"{one['seconds']:,.1f}", float(one["seconds"]))]
