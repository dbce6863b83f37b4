"""From the bytes of a request to rows, or a refusal that names the field."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec

from evergreen.tasks.core.serving.answers import RequestLimits, RequestRefused, refusal, shown
from evergreen.tasks.core.serving.batch import Batch, plain_numbers
from evergreen.tasks.core.serving.parse import (
    are_whole,
    fits,
    read_numbers,
    read_table,
    read_values,
    wrong_shape,
)
from evergreen.tasks.core.serving.signature import Column, FastRows, Signature

# What stands beside the rows of a request: prediction ids, who each row is about, and when it happened.


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = -62_135_596_800, 253_402_300_800
_LONGEST_ID = 200


def read_ids(given: Any, *, n: int) -> list[str] | None:
    """Return the prediction ids that a client chose: n different texts.

    Raises
    ------
    RequestRefused
        ``wrong_shape``, ``wrong_count``, ``invalid_id`` or ``duplicate_id``.
    """
    if given is None:
        return None
    ids = _listed(given, n, "ids", "a list of texts, one a row")
    unique: set[str] = set()
    for i, one in enumerate(ids):
        if not isinstance(one, str) or not 0 < len(one) <= _LONGEST_ID or "\0" in one:
            raise refusal("invalid_id", field=f"ids[{i}]", given=shown(one), most=_LONGEST_ID)
        if one in unique:
            raise refusal("duplicate_id", field=f"ids[{i}]", given=shown(one))
        unique.add(one)
    return ids


def read_entities(given: Any, *, n: int, field: str = "entities") -> list[str | None] | None:
    """Return who each row is about: texts or whole numbers, as text; null where nobody is named.

    >>> read_entities(["a", 7, 7.0, None], n=4)
    ['a', '7', '7', None]

    Raises
    ------
    RequestRefused
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
    RequestRefused
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
        raise refusal("wrong_count", field=field, given=len(given), n=n)
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
    raise refusal("invalid_entity", field=field, given=shown(value), most=_LONGEST_ID)


def _position(value: Any, signature: Signature, field: str) -> float | None:
    """Return a time on the model's clock; of timestamps the seconds, which the years 1 to 9999 may have."""
    if value is None:
        return None
    timestamps, wanted = signature.clock == "timestamp", "a number on the model's clock"
    if timestamps:
        form = f"a time in the format {signature.time_format}"
        form = form if signature.time_format else "an ISO 8601 time such as 2026-01-31T12:00:00Z"
        wanted = f"{form}, or seconds since 1970"
    is_number = isinstance(value, float | int) and not isinstance(value, bool)
    if is_number and (isinstance(value, float) or abs(value) < 2**63):
        if not timestamps:
            return float(value)
        value = f"{float(value):.0f}" if signature.time_format else float(value)
    if timestamps and isinstance(value, float | str):
        with suppress(ValueError):
            seconds = value if isinstance(value, float) else _seconds(value, signature.time_format)
            if _FIRST <= seconds < _LAST:
                return seconds
    raise refusal("invalid_time", field=field, given=shown(value), wanted=wanted)


def _seconds(text: str, time_format: str | None) -> float:
    if len(text) > _LONGEST_ID:
        raise ValueError(text)
    time = datetime.strptime(text, time_format) if time_format else datetime.fromisoformat(text)
    return ((time if time.tzinfo is not None else time.replace(tzinfo=UTC)) - _EPOCH).total_seconds()


# Read a request body: bytes to one JSON object of bounded size and depth, in which no key stands twice.


_DEEPEST = 5
_COLUMNS = 10_000


def read_body(body: bytes, *, limits: RequestLimits) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises
    ------
    RequestRefused
        ``body_too_large``, ``invalid_utf8``, ``invalid_json``, ``number_out_of_range``, ``too_deep``,
        ``too_many_parts``, ``not_an_object`` or ``duplicate_key``.
    """
    if len(body) > limits.body_bytes:
        raise refusal("body_too_large", given=len(body), most=limits.body_bytes)
    document = _parse(body)
    if not isinstance(document, dict):
        raise refusal("not_an_object")
    quotes = _quotes(document, most=limits.rows + _COLUMNS)
    if b"\\" in body or quotes != body.count(b'"'):
        # read once more, slowly, to refuse a key that stands twice in one object
        json.loads(body.decode(), object_pairs_hook=_distinct, parse_int=float, parse_float=float)
    return document


def _parse(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise refusal("too_deep", most=_DEEPEST) from None
    except msgspec.ValidationError as error:
        raise refusal("number_out_of_range/body", error=error) from None
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        try:  # how the parser says what is no UTF-8 goes by its version
            body.decode()
        except UnicodeDecodeError as wrong:
            raise refusal("invalid_utf8", byte=wrong.start) from None
        raise refusal("invalid_json", error=error) from None


def _quotes(document: dict[str, Any], *, most: int) -> int:
    """Return how many quotation marks a document has as JSON without escapes; it must be neither deep nor scattered.

    A body in which a key is repeated has more than its parsed form.
    """
    quotes = 0
    level: list[Any] = [document]
    for _ in range(_DEEPEST):
        below: list[Any] = []
        for each in level:
            values = list(each.values()) if isinstance(each, dict) else each
            quotes += 2 * len(each) if isinstance(each, dict) else 0
            types = set(map(type, values))
            if str in types:
                quotes += 2 * sum(type(value) is str for value in values)
            if list in types or dict in types:
                below += [value for value in values if isinstance(value, list | dict)]
        if not below:
            return quotes
        if len(below) > most:
            raise refusal("too_many_parts", given=len(below), most=most)
        level = below
    raise refusal("too_deep", most=_DEEPEST)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise refusal("duplicate_key", field=twice, key=twice[:60])
    return found


def decode(body: bytes, *, signature: Signature, limits: RequestLimits) -> Batch:
    """Return the rows of a request.

    Parameters
    ----------
    body : bytes
        UTF-8 JSON: ``{"records": [{…}]}`` or ``{"columns": {name: […]}}``, perhaps with ``ids``, ``entities`` and
        ``at`` beside; or MLflow's ``dataframe_split``, ``dataframe_records``, ``inputs`` and ``instances``.
    signature : Signature
        What the model takes.
    limits : Limits
        How much one request may ask for.

    Raises
    ------
    RequestRefused
        For whatever is wrong; no other exception leaves this function.
    """
    if len(body) <= limits.body_bytes:
        rows = signature.read_fast(body)
        if rows is not None and _keeps_rules(rows, signature, limits):
            return _from_rows(rows, signature)
    return decode_generally(body, signature=signature, limits=limits)


def decode_generally(body: bytes, *, signature: Signature, limits: RequestLimits) -> Batch:
    """Return the rows of a request in any accepted shape; `decode` without its quick way for records."""
    document = read_body(body, limits=limits)
    table = read_table(document, signature=signature, limits=limits)
    numbers = read_numbers(table, signature.numbers)
    texts = [read_values(table, column, limits=limits) for column in signature.texts]
    brought = [name for name in signature.context if name in table.columns]
    context = {name: read_values(table, Column(name, "any"), limits=limits) for name in brought}
    rows = FastRows(table.n, numbers, texts, context, document)
    return _batch(rows, signature, table.columns.get)


def _from_rows(rows: FastRows, signature: Signature) -> Batch:
    if not rows.beside and signature.entity is None and signature.time is None:
        return Batch(signature, rows.n, rows.numbers, tuple(rows.others), rows.context)
    return _batch(rows, signature, partial(_values, rows, signature))


def _batch(rows: FastRows, signature: Signature, values: Callable[[str], list[Any] | None]) -> Batch:
    """Put a batch together; what stands beside the rows goes before the ``values`` of a column of theirs."""
    n, beside = rows.n, rows.beside
    entities, times = values(signature.entity or ""), values(signature.time or "")
    who = read_entities(beside.get("entities"), n=n)
    when = read_times(beside.get("at"), n=n, signature=signature)
    if who is None and entities is not None:
        who = read_entities(entities, n=n, field=str(signature.entity))
    if when is None and times is not None:
        when = read_times(times, n=n, signature=signature, field=str(signature.time))
    ids = read_ids(beside.get("ids"), n=n)
    return Batch(signature, n, rows.numbers, tuple(rows.others), rows.context, ids, who, when)


def _keeps_rules(rows: FastRows, signature: Signature, limits: RequestLimits) -> bool:
    """Tell whether rows of the fast path keep the limits and kinds that their types alone do not guarantee."""
    return (
        rows.n <= limits.rows
        and (not rows.others or all(fits(values, limits) for values in rows.others))
        and (not rows.context or all(fits(values, limits) for values in rows.context.values()))
        and (
            not signature.whole
            or all(are_whole(rows.numbers[:, at], column) for at, column in signature.whole)
        )
    )


def _values(rows: FastRows, signature: Signature, name: str) -> list[Any] | None:
    """Return a column's values by row, for rows of the fast path; None where there is no such column."""
    if name in rows.context or name not in signature.names:
        return rows.context.get(name)
    numbers = [column.name for column in signature.numbers]
    if name in numbers:
        return plain_numbers(rows.numbers[:, numbers.index(name)])
    return rows.others[[column.name for column in signature.texts].index(name)]


# Outcomes a client reports: a class the model can have, or a number that can be stored.


_LONGEST_TEXT = 1000
_MOST_NAMED = 20


def check_outcome(outcome: Any, *, problem: str, classes: Sequence[Any] = (), field: str) -> None:
    """Check an outcome before it is written: the first one stays, so that a wrong one could never be corrected.

    Classes are compared as outcomes from the log are: ``1``, ``1.0`` and ``true`` are one, text is never a number. Of a
    multiclass problem a class that no version knows yet is taken, for monitoring must see it come up; it has to be of
    the known ones' kind.

    Parameters
    ----------
    outcome : object
        As JSON had it.
    problem : str
        The model's.
    classes : sequence
        Those that the model knows; empty where none is served yet.
    field : str
        Where it stands in the request.

    Raises
    ------
    RequestRefused
        ``wrong_type``, ``number_out_of_range`` or ``unknown_class``.
    """
    if problem not in ("binary", "multiclass"):
        if isinstance(outcome, bool) or not isinstance(outcome, int | float):
            raise _wrong_type(outcome, "a number", problem, field)
        _check_number(outcome, field)
        return
    if isinstance(outcome, str):
        if len(outcome) > _LONGEST_TEXT:
            raise _wrong_type(outcome, f"a class of at most {_LONGEST_TEXT} characters", problem, field)
    elif isinstance(outcome, int | float):
        _check_number(outcome, field)
    else:
        raise _wrong_type(outcome, "a class", problem, field)
    if classes and outcome not in classes and not (problem == "multiclass" and _is_alike(outcome, classes)):
        allowed = ", ".join(map(shown, classes[:_MOST_NAMED])) + (", …" if len(classes) > _MOST_NAMED else "")
        allowed += "" if problem == "binary" else ", or a new class of their kind"
        raise refusal("unknown_class", field=field, given=_short(outcome), allowed=allowed)


def _check_number(number: float, field: str) -> None:
    fits = math.isfinite(number) if isinstance(number, float) else -(2**63) <= number < 2**63
    if not fits:
        raise refusal("number_out_of_range/outcome", field=field, given=_short(number))


def _is_alike(outcome: Any, classes: Sequence[Any]) -> bool:
    """Whether an outcome could stand beside these classes: text beside text, whole numbers beside whole ones."""
    if any(isinstance(each, str) for each in (outcome, *classes)):
        return all(isinstance(each, str) for each in (outcome, *classes))
    return float(outcome).is_integer() or not all(float(each).is_integer() for each in classes)


def _wrong_type(outcome: Any, wanted: str, problem: str, field: str) -> RequestRefused:
    given = _short(outcome)
    return refusal("wrong_type/outcome", field=field, given=given, wanted=wanted, problem=problem)


def _short(value: Any) -> str:
    too_long = isinstance(value, int) and abs(value) >= 2**63
    return "a whole number beyond 64 bits" if too_long else shown(value)
