"""Words that earlier versions stored, and the words that stand for them now: one table, applied on reading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

STATES: Mapping[str, str] = {
    "Quiet": "NoDrift",
    "Kept": "ChampionKept",
    "Held": "Blocked",
    "Admitted": "ReadyForLiveTest",
    "Insufficient": "InsufficientData",
    "Testing": "LiveTestRunning",
    "RolledBack": "ChampionRestored",
}
"""Names of the states of version 0.1, each with its name today."""

REASON_CODES: Mapping[str, str] = {
    "perhaps_astray": "data_quality_suspected",
    "units_cross": "unit_contamination",
    "shadow_misses": "shadow_coverage_low",
    "answers_fail": "undefined_metric_rate",
    "learned_window": "window_in_training_data",
    "traffic_taken_back": "traffic_reverted",
    "reigns_already": "already_champion",
}
"""Codes of reasons of version 0.1, each with its code today."""

_BY_KEY = {"state": STATES, "code": REASON_CODES}
_ANY_OLD = re.compile("|".join(f'"{word}"' for table in _BY_KEY.values() for word in table))


def has_old_words(text: str) -> bool:
    """Return whether a JSON text may hold a word of an earlier version; cheap, so that most are not read through.

    >>> has_old_words('{"state":"Kept"}'), has_old_words('{"state":"Promoted"}')
    (True, False)
    """
    return _ANY_OLD.search(text) is not None


def in_todays_words(stored: Any) -> Any:
    """Return a stored document with each ``state`` and each reason's ``code`` in today's words.

    Keys, kinds and all other values stay as they were stored.

    >>> in_todays_words({"state": "Held", "reasons": [{"code": "lock_held", "observed": "Held"}]})
    {'state': 'Blocked', 'reasons': [{'code': 'lock_held', 'observed': 'Held'}]}
    """
    if isinstance(stored, Mapping):
        return {key: _value(key, value) for key, value in stored.items()}
    if isinstance(stored, list):
        return [in_todays_words(value) for value in stored]
    return stored


def _value(key: str, value: Any) -> Any:
    table = _BY_KEY.get(key)
    if table is not None and isinstance(value, str):
        return table.get(value, value)
    return in_todays_words(value)
