"""What stands beside the rows of a request: prediction ids, who each row is about, and when it happened."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from tasks.core.serving.refused import Refused, shown
from tasks.core.serving.signature import Signature
from tasks.core.serving.table import wrong_shape

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800, 253_402_300_800
_LONGEST_ID = 200


def read_ids(given: Any, *, n: int) -> list[str] | None:
    """Return the prediction ids that a client chose: n different texts.

    Raises
    ------
    Refused
        ``wrong_shape``, ``wrong_count``, ``invalid_id`` or ``duplicate_id``.
    """
    if given is None:
        return None
    ids = _listed(given, n, "ids", "a list of texts, one a row")
    seen: set[str] = set()
    for i, one in enumerate(ids):
        if not isinstance(one, str) or not 0 < len(one) <= _LONGEST_ID or "\0" in one:
            raise Refused(
                422,
                "invalid_id",
                f"The prediction id {shown(one)} is not allowed; an id is a text of 1 to {_LONGEST_ID} characters.",
                field=f"ids[{i}]",
            )
        if one in seen:
            raise Refused(
                422,
                "duplicate_id",
                f"The prediction id {shown(one)} stands twice. Give every row its own.",
                field=f"ids[{i}]",
            )
        seen.add(one)
    return ids


def read_entities(given: Any, *, n: int, field: str = "entities") -> list[str | None] | None:
    """Return who each row is about: texts or whole numbers, as text; null where nobody is named.

    >>> read_entities(["a", 7, 7.0, None], n=4)
    ['a', '7', '7', None]

    Raises
    ------
    Refused
        ``wrong_shape``, ``wrong_count`` or ``invalid_entity``.
    """
    if given is None:
        return None
    entities = _listed(given, n, field, "a list of texts or whole numbers, one a row")
    return [_entity(one, f"{field}[{i}]") for i, one in enumerate(entities)]


def read_times(given: Any, *, n: int, signature: Signature, field: str = "at") -> list[float | None] | None:
    """Return when each row happened, as positions on the model's clock; one value may stand for all rows.

    Raises
    ------
    Refused
        ``wrong_count`` or ``invalid_time``.
    """
    if given is None:
        return None
    times = _listed(given, n, field, "a list") if isinstance(given, list) else [given] * n
    return [_position(one, signature, f"{field}[{i}]") for i, one in enumerate(times)]


def _listed(given: Any, n: int, field: str, wanted: str) -> list[Any]:
    if not isinstance(given, list):
        raise wrong_shape(shown(given), wanted, field=field)
    if len(given) != n:
        raise Refused(
            422,
            "wrong_count",
            f"'{field}' has {len(given)} values for {n} rows. Give one for each row.",
            field=field,
        )
    return given


def _entity(value: Any, field: str) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, float) and value == math.floor(value) and abs(value) < 2**53:
        value = int(value)
    fits = isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and "\0" not in value
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if fits or whole:
        return str(value)
    raise Refused(
        422,
        "invalid_entity",
        f"The entity {shown(value)} is not allowed; an entity is a text of 1 to {_LONGEST_ID} characters or a whole "
        "number. Correct it, or send null.",
        field=field,
    )


def _position(value: Any, signature: Signature, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) or abs(value) < 2**63:
            return _numbered(float(value), signature, field)
    elif isinstance(value, str) and signature.clock == "timestamp" and len(value) <= _LONGEST_ID:
        return _timed(value, signature, field)
    raise _invalid(value, signature, field)


def _numbered(value: float, signature: Signature, field: str) -> float:
    if signature.clock == "timestamp" and signature.time_format:
        return _timed(f"{value:.0f}", signature, field)
    if signature.clock == "timestamp":
        return _within(value, value, signature, field)
    return value


def _timed(text: str, signature: Signature, field: str) -> float:
    try:
        if signature.time_format:
            found = datetime.strptime(text, signature.time_format)
        else:
            found = datetime.fromisoformat(text)
        aware = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except ValueError:
        raise _invalid(text, signature, field) from None
    return _within((aware - _EPOCH).total_seconds(), text, signature, field)


def _within(seconds: float, given: Any, signature: Signature, field: str) -> float:
    """Return seconds that a time of the years 1 to 9999 may have."""
    if not _FIRST <= seconds < _LAST:
        raise _invalid(given, signature, field)
    return seconds


def _invalid(value: Any, signature: Signature, field: str) -> Refused:
    wanted = "a number on the model's clock"
    if signature.clock == "timestamp":
        form = (
            f"a time in the format {signature.time_format}" if signature.time_format else "an ISO 8601 time"
        )
        wanted = f"{form} such as 2026-01-31T12:00:00Z" if not signature.time_format else form
        wanted += ", or seconds since 1970"
    return Refused(
        422, "invalid_time", f"The event time {shown(value)} is not on the clock. Send {wanted}.", field=field
    )
