"""Read a request body: bytes to one JSON object of bounded size and depth, in which no key stands twice."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from tasks.core.serving.refused import Limits, Refused

_DEEPEST = 5
_NEVER_TEXT = frozenset((float, int, type(None), bool))


def read_body(body: bytes, *, limits: Limits) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises
    ------
    Refused
        ``body_too_large``, ``invalid_utf8``, ``invalid_json``, ``number_out_of_range``, ``too_deep``,
        ``not_an_object`` or ``duplicate_key``.
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
    quotes = _quotes(document, _DEEPEST)
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


def _quotes(value: Any, depth: int) -> int:
    """Return how many quotation marks a value has as JSON without escapes; it must not be too deep.

    A body in which a key is repeated has more than its parsed form.
    """
    if isinstance(value, str):
        return 2
    if not isinstance(value, list | dict):
        return 0
    if depth == 0:
        raise _too_deep()
    if isinstance(value, list):
        return _quotes_within(value, depth)
    return 2 * len(value) + _quotes_within(value.values(), depth)


def _quotes_within(values: Iterable[Any], depth: int) -> int:
    types = set(map(type, values))
    return 0 if types <= _NEVER_TEXT else sum(_quotes(each, depth - 1) for each in values)


def _refuse_duplicates(body: bytes) -> None:
    """Read the body once more, slowly, and refuse a key that stands twice in one object."""
    json.loads(body.decode(), object_pairs_hook=_distinct, parse_int=float, parse_float=float)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
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
