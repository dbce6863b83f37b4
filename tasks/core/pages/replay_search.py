"""What a search for a policy found, for people: which settings to paste, and how they did on the part not seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.drift.phrases import short_time
from tasks.core.pages.replay_phrases import number, times
from tasks.core.pages.watched import real

Search = Mapping[str, Any]


def search_headline(search: Search, *, sign: int) -> str:
    """Return what came of it in a sentence or two."""
    tried = sum(one["overlay"] is not None for one in search["trials"])
    chosen = ranked(search, sign=sign)
    if not chosen:
        return (
            f"{tried} settings were tried on the first part of history; none is on the front of quality and "
            "retrainings, so there is nothing to paste."
        )
    first, asked = chosen[0], _asked(search)
    many = "one is" if len(chosen) == 1 else f"{len(chosen)} are"
    said = (
        f"{tried} settings were tried on the first part of history; {many} on the front. Best on the part not seen "
        f"(from {short_time(search['unseen_from'])}): {first['policy']}, {_mean(first)}"
    )
    if asked is None or first["unseen_part"] is None:
        return f"{said}."
    ahead = sign * (real(first["unseen_part"]["mean"]) - real(asked["unseen_part"]["mean"])) > 0
    return f"{said}; that is {'better' if ahead else 'no better'} than configured, {_mean(asked)} there."


def ranked(search: Search, *, sign: int) -> list[Mapping[str, Any]]:
    """Return the chosen settings, the best on the part not seen first; of equal ones that with fewer retrainings."""

    def place(one: Mapping[str, Any]) -> tuple[float, int]:
        later = one["unseen_part"]
        mean = real(later["mean"]) if later else math.nan
        return (-sign * mean if math.isfinite(mean) else math.inf, later["retrainings"] if later else 0)

    return sorted(search["chosen"], key=place)


def policy_yaml(search: Search, *, sign: int) -> str:
    """Return the lines to paste: the best chosen setting as it is, the others commented out below it."""
    lines = [f"# {search_headline(search, sign=sign)}"]
    for place, one in enumerate(ranked(search, sign=sign)):
        lines += ["", f"# {told_of(one)}"]
        lines += [line if place == 0 else f"# {line}" for line in str(one["yaml"]).splitlines()]
    return "\n".join(lines) + "\n"


def told_of(one: Mapping[str, Any]) -> str:
    """Return how a chosen setting did on both parts."""
    first, later = one["first_part"], one["unseen_part"]
    seen = f"{first['metric']} {number(first['mean'])} with {times(first['retrainings'])} where it was tried"
    seen = f"{one['policy']}: {seen}"
    return f"{seen}, {_mean(one)} on the part not seen" if later else f"{seen}, not confirmed"


def search_markdown(search: Search, *, sign: int) -> list[str]:
    """Return the lines of its section."""
    lines = ["", "## Search", "", search_headline(search, sign=sign)]
    if search["chosen"]:
        lines += ["", "```yaml", *policy_yaml(search, sign=sign).splitlines()[2:], "```"]
    return lines


def _asked(search: Search) -> Mapping[str, Any] | None:
    unseen: Sequence[Mapping[str, Any]] = search["unseen"]
    return next(({"unseen_part": one} for one in unseen if one["policy"] == "configured"), None)


def _mean(one: Mapping[str, Any]) -> str:
    later = one["unseen_part"]
    return f"{number(later['mean'])} with {times(later['retrainings'])}" if later else "not confirmed"
