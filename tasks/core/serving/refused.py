"""What a request is refused for: a 4xx status, a stable code, the field, and a message that says what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tasks.core.errors import InputError

_LONGEST, _LONGEST_FIELD = 60, 200


class Refused(InputError):
    """A request that is not answered because of what it holds.

    Attributes
    ----------
    status : int
        HTTP status: 400 (no readable JSON of a known shape), 413 (too large), 422 (readable, and wrong).
    code : str
        Stable machine-readable code, e.g. ``unknown_column``.
    field : str | None
        Where it is wrong, e.g. ``records[0].amount``.
    message : str
        What was wrong, the value, what is allowed, and what to do.
    """

    def __init__(self, status: int, code: str, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field if field is None or len(field) <= _LONGEST_FIELD else f"{field[:_LONGEST_FIELD]}…"
        self.message = message


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How much one request may ask for.

    Attributes
    ----------
    body_bytes : int
        Longest body.
    rows : int
        Most rows.
    text : int
        Longest text value, column name or prediction id, in characters.
    """

    body_bytes: int = 8 * 1024 * 1024
    rows: int = 10_000
    text: int = 1_000


def model_refuses(why: str) -> Refused:
    """Return the refusal of rows that fit the signature, and that the model itself does not take."""
    return Refused(
        422,
        "model_refuses",
        f"The model cannot score these rows ({why}). Correct the values, or ask whoever trained the model.",
    )


def model_raised(error: Exception) -> Refused:
    """Return the refusal of rows on which the model raised: by the error's kind, for its words may hold values of rows.

    Where a wrapper of ours raised the error, the kind is that of the model's own, which it was raised from.
    """
    own = error.__cause__ if isinstance(error, InputError) and error.__cause__ else error
    return model_refuses(type(own).__name__)


def shown(value: Any) -> str:
    """Return a value for a message, shortened.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
    >>> shown(True), shown(None), shown({"a": 1}), shown([1])
    ('true', 'null', 'an object', 'a list')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value[:_LONGEST] if isinstance(value, str) else value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
