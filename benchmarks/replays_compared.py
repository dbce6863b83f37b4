"""Compare the decisions that two versions wrote, under the words of the newer one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

WORDS = {
    "Quiet": "NoDrift",
    "Kept": "ChampionKept",
    "Held": "Blocked",
    "Admitted": "ReadyForLiveTest",
    "Insufficient": "InsufficientData",
    "Testing": "LiveTestRunning",
    "RolledBack": "ChampionRestored",
    "literal": "fixed_thresholds",
    "perhaps_astray": "data_quality_suspected",
    "units_cross": "unit_contamination",
    "shadow_misses": "shadow_coverage_low",
    "answers_fail": "undefined_metric_rate",
    "learned_window": "window_in_training_data",
    "traffic_taken_back": "traffic_reverted",
}
"""States, reason codes and policies that were renamed, old to new; both sides are read through it."""
MISSING = "(missing)"
SAME = 1e-7
"""Relative difference up to which two numbers are the same; they are written with nine digits."""


def compare_folders(before: Path, now: Path, *, names: Sequence[str], words: Path | None = None) -> int:
    """Print the first difference of each data set; return 1 where there is one, else 0."""
    more = {} if words is None else json.loads(words.read_text(encoding="utf-8"))
    differing = 0
    for name in names:
        pair = [read_lines(folder / f"{name}.jsonl", WORDS | more) for folder in (before, now)]
        found = first_differences(*pair)
        differing |= bool(found)
        for kind, said in found.items():
            print(f"{name}: first difference of {kind}: {said}")
        if not found:
            print(f"{name}: the same, {len(pair[0]):,} lines")
    return int(differing)


def read_lines(path: Path, words: Mapping[str, str]) -> list[Any]:
    """Return the lines of a file, each word that was renamed under its new name."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [renamed(json.loads(line), words) for line in lines]


def renamed(value: Any, words: Mapping[str, str]) -> Any:
    """Return JSON in which every text that is an old word is the new one; keys stay.

    >>> renamed({"state": "Kept", "causes": ["data:Kept"]}, {"Kept": "ChampionKept"})
    {'state': 'ChampionKept', 'causes': ['data:Kept']}
    """
    if isinstance(value, dict):
        return {key: renamed(one, words) for key, one in value.items()}
    if isinstance(value, list):
        return [renamed(one, words) for one in value]
    return words.get(value, value) if isinstance(value, str) else value


def first_differences(before: Sequence[Any], now: Sequence[Any]) -> dict[str, str]:
    """Return the first difference of decisions and the first of numbers, as sentences; empty without any."""
    found: dict[str, str] = {}
    lines: Iterator[tuple[Any, Any]] = zip_longest(before, now, fillvalue={})
    for old, new in lines:
        where = _place(old or new)
        for path, one, other in differences(old, new):
            kind = "numbers" if path.startswith("numbers") else "decisions"
            found.setdefault(kind, f"{where}, {path}: {json.dumps(one)} before, {json.dumps(other)} now")
    return found


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two JSON values differ: path, old, new.

    >>> list(differences({"a": [1, 2.0]}, {"a": [1, 2.5]}))
    [('a.1', 2.0, 2.5)]
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            one, other = old.get(key, MISSING), new.get(key, MISSING)
            yield from differences(one, other, f"{path}.{key}".lstrip("."))
    elif isinstance(old, list) and isinstance(new, list):
        for place, (one, other) in enumerate(zip_longest(old, new, fillvalue=MISSING)):
            yield from differences(one, other, f"{path}.{place}")
    elif not _same(old, new):
        yield path, old, new


def _same(old: Any, new: Any) -> bool:
    both = (old, new)
    if any(isinstance(one, float) for one in both) and all(_number(one) for one in both):
        return math.isclose(old, new, rel_tol=SAME, abs_tol=1e-12)
    return type(old) is type(new) and bool(old == new)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _place(line: Mapping[str, Any]) -> str:
    """Return which line it is, in words."""
    policy = f"policy '{line['policy']}'{', full' if line['full'] else ''}"
    return f"{policy}, step {line['step']} (to {line['to']})" if "step" in line else f"{policy}, as a whole"
