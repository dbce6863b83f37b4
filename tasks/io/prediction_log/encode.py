"""Served rows and outcomes as the records the log stores: as JSON; values no database can hold are refused."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.serving.idempotency import OutcomeRecord, Record
from evergreen.tasks.io.prediction_log.records import (
    KnownOutcome,
    Served,
    ShadowScore,
    finite_position,
    plain,
    to_json,
)

ShadowRecord = tuple[str, str, str, int | None, str, str]
"""Model, prediction id, variant, version, score and decision of a shadow."""

LONGEST_ID = LONGEST_ENTITY = 255
LONGEST_VARIANT = 64
_INFINITE = (math.inf, -math.inf)


def encode_rows(model: str, rows: Sequence[Served]) -> list[Record]:
    """Return the records of the rows of one request.

    Raises
    ------
    InputError
        When an id, variant or entity is empty, too long or no text a database takes, when an id comes twice, a
        position is no point on a clock, or a value is nothing JSON can say.
    """
    records = [_record(model, row) for row in rows]
    if len(records) > 1 and len({record.prediction_id for record in records}) < len(records):
        ((repeated, _),) = Counter(record.prediction_id for record in records).most_common(1)
        raise InputError(f"Prediction '{repeated}' comes twice in one request. Give each row its own id.")
    return records


def encode_shadows(model: str, rows: Sequence[Served]) -> list[ShadowRecord]:
    """Return the records of the shadows' answers to the rows; errors as above."""
    return [shadow_record(model, row.prediction_id, each) for row in rows for each in row.shadows]


def encode_outcomes(model: str, outcomes: Sequence[KnownOutcome]) -> list[OutcomeRecord]:
    """Return the records of outcomes; errors as above, but an id may come twice."""
    return [
        OutcomeRecord(
            model,
            _text(each.prediction_id, "prediction id", LONGEST_ID),
            _json(each.outcome, each.prediction_id),
            finite_position(each.known_at, each.prediction_id),
        )
        for each in outcomes
    ]


def _record(model: str, row: Served) -> Record:
    name, features, entity = row.prediction_id, row.features, row.entity
    return Record(
        model,
        _text(name, "prediction id", LONGEST_ID),
        finite_position(row.position, name),
        row.version,
        _text(row.variant, "variant", LONGEST_VARIANT),
        None if entity is None else _text(entity, "entity", LONGEST_ENTITY),
        _json(row.score, name),
        _json(row.decision, name),
        features.decode() if isinstance(features, bytes) else _json(features, name),
        row.request,
    )


def shadow_record(model: str, name: str, shadow: ShadowScore) -> ShadowRecord:
    """Return the record of a shadow's answer; errors as above."""
    variant = _text(shadow.variant, "variant", LONGEST_VARIANT)
    return model, name, variant, shadow.version, _json(shadow.score, name), _json(shadow.decision, name)


def _json(value: Any, name: str) -> str:
    """Return a value's JSON; values that the fast encoder treats differently go to the careful one."""
    kind = value.__class__
    if kind is float:
        if value in _INFINITE:
            raise _unsayable(value, name)
        return "null" if math.isnan(value) else repr(value)
    if kind is int:
        return str(value)
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        if _INFINITE[0] in value.values() or _INFINITE[1] in value.values():
            raise _unsayable(value, name)
        try:
            return orjson.dumps(value, default=plain, option=orjson.OPT_SORT_KEYS).decode()
        except (TypeError, ValueError) as error:
            raise _unsayable(value, name) from error
    return to_json(value)


def _unsayable(value: Any, name: str) -> InputError:
    return InputError(
        f"Prediction '{name}': {value!r} cannot be logged. Allowed: text, finite numbers, true, false, null, times, "
        "lists and objects. Turn it into one of them."
    )


def _text(text: str, what: str, longest: int) -> str:
    """Return a text that both databases take: one that they refuse would fail all that is committed with it."""
    if 0 < len(text) <= longest and text.isascii() and "\0" not in text:
        return text
    if not 0 < len(text) <= longest or "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(
            f"The {what} {text[:80]!r} has {len(text)} characters. Allowed: 1 to {longest} of Unicode without NUL. "
            "Shorten it, or take its hash."
        )
    return text
