"""The sentences of a replay: which policy is best, how the configured one stands, what no model beats."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tasks.core.drift.phrases import listed, short_time
from tasks.core.pages.replayed import Replayed
from tasks.core.pages.watched import real
from tasks.core.replay.mean_interval import MeanInterval

Policy = Mapping[str, Any]
NONE = "–"


def headline(told: Replayed) -> list[str]:
    """Return the sentences that matter most, in their order."""
    return [_best(told), *_standing(told), *_last_label(told)]


def number(value: Any, *, signed: bool = False) -> str:
    """Write a number for people: four digits, a dash for what is undefined.

    >>> number(0.123456), number(12345.6), number(None), number(0.02, signed=True), number(0.0)
    ('0.1235', '12,346', '–', '+0.02', '0')
    """
    known = real(value)
    if not math.isfinite(known):
        return NONE
    if abs(known) >= 1000:
        return f"{known:{'+' if signed else ''},.0f}"
    return f"{known:{'+' if signed else ''}.4g}"


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
    return f"{many:,} retraining{'' if many == 1 else 's'}"


def span(window: Mapping[str, Any]) -> str:
    """Write from where to where a window goes; a dash for none.

    >>> span({"from": "1000", "to": "2000"}), span({"from": None, "to": None})
    ('1000 to 2000', '–')
    """
    return NONE if window["from"] is None else f"{short_time(window['from'])} to {short_time(window['to'])}"


def _best(told: Replayed) -> str:
    best = told.best
    if best is None:
        return f"No policy has a value of {told.metric} in any window."
    many = len(told.policies)
    of = "The one policy" if many == 1 else f"The best of {many} policies"
    said = f"{of} by mean {told.metric} ({told.direction}): {best['policy']}, {number(best['mean'])} with "
    same = [one["policy"] for one in told.policies if one is not best and one["mean"] == best["mean"]]
    tied = f"; {listed(same)} {'comes' if len(same) == 1 else 'come'} to the same mean" if same else ""
    return f"{said}{times(best['retrainings'])}{tied}."


def _standing(told: Replayed) -> Iterator[str]:
    """Yield how the policy that is told of stands to the best, to every and to never."""
    mine, best = told.subject, told.best
    if mine is None or best is None or not math.isfinite(real(mine["mean"])):
        return
    if mine["policy"] != best["policy"] and mine["mean"] != best["mean"]:
        share = f" ({mine['relative_regret']:.2%})" if mine["relative_regret"] is not None else ""
        yield (
            f"{mine['policy']} reaches {number(mine['mean'])}, {number(mine['regret'])}{share} behind the best, with "
            f"{times(mine['retrainings'])}."
        )
    for name, say in (("every", _against_every), ("never", _against_never)):
        other = told.named(name)
        if other is not None and other is not mine and math.isfinite(real(other["mean"])):
            yield say(told, mine, other)


def _against_every(told: Replayed, mine: Policy, every: Policy) -> str:
    ratio = mine["mean"] / every["mean"] if min(mine["mean"], every["mean"]) > 0 else math.nan
    if not math.isfinite(ratio):
        quality = f"a mean {number(told.lead(mine, every).mean, signed=True)} better than its mean"
    elif told.sign > 0:
        quality = f"{ratio:.1%} of its mean"
    else:
        quality = f"{ratio:.3f} times its error"
    part = f" ({mine['retrainings'] / every['retrainings']:.0%})" if every["retrainings"] else ""
    return (
        f"Against every, which refits at each window, {mine['policy']} comes to {quality} with "
        f"{mine['retrainings']:,} against {times(every['retrainings'])}{part}."
    )


def _against_never(told: Replayed, mine: Policy, never: Policy) -> str:
    lead = told.lead(mine, never)
    name = mine["policy"]
    if lead.n and not np.nan_to_num(told.leads(mine, never)).any():
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


def _last_label(told: Replayed) -> Iterator[str]:
    """Yield a sentence where 'same as the last label' beats every model on accuracy, or on the metric."""
    if told.baseline is None:
        return
    for name, field, sign in (("accuracy", "accuracy", 1), (told.metric, "mean", told.sign)):
        mine = real(told.baseline[field])
        others = {one["policy"]: value for one in told.policies if math.isfinite(value := real(one[field]))}
        if not others or not math.isfinite(mine) or (field == "accuracy" and name == told.metric):
            continue
        best = max(others, key=lambda policy: sign * others[policy])
        if sign * mine > sign * others[best]:
            yield (
                f"'Same as the last label', which needs no model, beats every policy on {name}: {number(mine)} against "
                f"{number(others[best])} of {best}."
            )
