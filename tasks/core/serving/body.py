"""Read a request body: bytes to one JSON object of bounded size and depth, in which no key stands twice."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

from tasks.core.serving.refused import Limits, Refused

_DEEPEST = 5
_COLUMNS = 10_000


def read_body(body: bytes, *, limits: Limits) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises
    ------
    Refused
        ``body_too_large``, ``invalid_utf8``, ``invalid_json``, ``number_out_of_range``, ``too_deep``,
        ``too_many_parts``, ``not_an_object`` or ``duplicate_key``.
    """
    if len(body) > limits.body_bytes:
        raise Refused(
            413,
            "body_too_large",
            f"The body has {len(body)} bytes; at most {limits.body_bytes} are allowed. Send fewer rows at once.",
        )
    document = _parse(body)
    if not isinstance(document, dict):
        raise Refused(
            400,
            "not_an_object",
            "The body is not a JSON object. Send "
            '{"records": [{…}]}, {"columns": {…}}, or one of MLflow\'s forms such as {"dataframe_split": {…}}.',
        )
    quotes = _quotes(document, most=limits.rows + _COLUMNS)
    if b"\\" in body or quotes != body.count(b'"'):
        _refuse_duplicates(body)
    return document


def _parse(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError as error:
        raise Refused(
            400, "invalid_utf8", f"The body is no UTF-8 (byte {error.start} of a text). Encode it as UTF-8."
        ) from None
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        raise Refused(
            400,
            "number_out_of_range",
            f"The body holds a number beyond what a float can say ({error}). Send a finite number, or null.",
        ) from None
    except msgspec.DecodeError as error:
        raise Refused(
            400,
            "invalid_json",
            f"The body is no JSON ({error}). NaN and Infinity are no JSON either: send null for a missing value.",
        ) from None


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
            raise Refused(
                413,
                "too_many_parts",
                f"The body holds {len(below)} lists and objects side by side; at most {most} are allowed. Send fewer "
                "rows at once.",
            )
        level = below
    raise _too_deep()


def _refuse_duplicates(body: bytes) -> None:
    """Read the body once more, slowly, and refuse a key that stands twice in one object."""
    json.loads(body.decode(), object_pairs_hook=_distinct, parse_int=float, parse_float=float)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise Refused(
            400,
            "duplicate_key",
            f"The key {twice[:60]!r} stands twice in one object, so it is not known which is meant. Remove one.",
            field=twice,
        )
    return found


def _too_deep() -> Refused:
    return Refused(
        400,
        "too_deep",
        f"The body nests lists and objects deeper than {_DEEPEST}; a value is text, a number, true, false or null.",
    )
