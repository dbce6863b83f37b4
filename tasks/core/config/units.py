"""What sections are made of: base, bounded numbers, names, and spans of the clock (``7d``, ``500 rows``)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
OpenFraction = Annotated[float, Field(gt=0.0, lt=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]


def _one_name(value: str | dict[str, dict[str, Any]]) -> str | dict[str, dict[str, Any]]:
    if isinstance(value, dict) and len(value) != 1:
        raise ValueError(
            "options stand under one name each; write '- name: {option: value}', and the next name in a line of its own"
        )
    return value


Plugged = Annotated[str | dict[str, dict[str, Any]], AfterValidator(_one_name)]
"""A name or dotted path of what a team plugs in, perhaps with its options: ``{name: {option: value}}``."""


def _metric_name(value: str) -> str:
    return value.replace("@", "_at_")


MetricName = Annotated[str, AfterValidator(_metric_name)]
"""Name of a metric; ``ndcg@3`` is read as ``ndcg_at_3``."""


class Section(BaseModel):
    """A closed, frozen part of the configuration; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "mo": 30.4375 * 86400.0}
"""A month (``mo``) is a twelfth of 365.25 days, wherever it begins."""
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(mo|s|m|h|d|w)\s*$")
_ROWS = re.compile(r"^\s*(\d+)\s*(?:rows?)\s*$")
_HELP = "a duration such as 30s, 15m, 1h, 7d, 2w, 6mo, or a number of rows such as '500 rows'"


@dataclass(frozen=True)
class Span:
    """A length on a model's clock.

    Attributes
    ----------
    amount : seconds when ``unit`` is ``seconds``, a number of rows when it is ``rows``.
    unit : of ``amount``.
    text : as written, for messages and for writing the configuration back.
    """

    amount: float
    unit: Literal["seconds", "rows"]
    text: str

    def __str__(self) -> str:
        return self.text


def parse_span(value: Any) -> Span:
    """Read a span from text; whole numbers count rows.

    Raises
    ------
    ValueError
        When the text is neither a duration nor a number of rows.

    Examples
    --------
    >>> parse_span("1h").amount, parse_span("500 rows").unit
    (3600.0, 'rows')
    """
    if isinstance(value, Span):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is not {_HELP}")
    text = f"{value} rows" if isinstance(value, int) else value.strip()
    if match := _DURATION.match(text):
        return Span(float(match[1]) * _SECONDS[match[2]], "seconds", text)
    if match := _ROWS.match(text):
        return Span(float(match[1]), "rows", text)
    raise ValueError(f"{value!r} is not {_HELP}")


def parse_duration(value: Any) -> Span:
    """Read a span that must be a duration: wall-clock keys such as a cooldown cannot count rows.

    Raises
    ------
    ValueError
        When the text is not a duration.
    """
    span = parse_span(value)
    if span.unit != "seconds":
        raise ValueError(f"{value!r} is not a duration such as 30s, 15m, 1h, 7d, 2w, 6mo")
    return span


_PATTERN = r"^\s*\d+(\.\d+)?\s*(mo|s|m|h|d|w)\s*$"
_TO_TEXT = PlainSerializer(str, return_type=str)
AnySpan = Annotated[
    Span,
    BeforeValidator(parse_span),
    _TO_TEXT,
    WithJsonSchema({"anyOf": [{"type": "string", "examples": ["7d", "500 rows"]}, {"type": "integer"}]}),
]
Duration = Annotated[
    Span,
    BeforeValidator(parse_duration),
    _TO_TEXT,
    WithJsonSchema({"type": "string", "pattern": _PATTERN, "examples": ["1h", "7d"]}),
]


@dataclass(frozen=True)
class Rate:
    """A number of events per length of the clock.

    Attributes
    ----------
    count : expected events, > 0.
    span : the length they are expected in.
    text : as written.
    """

    count: float
    span: Span
    text: str

    def __str__(self) -> str:
        return self.text


_RATE = re.compile(r"^\s*(\d+(?:\.\d+)?)\s+per\s+(.+?)\s*$")


def parse_rate(value: Any) -> Rate:
    """Read a rate from text.

    Raises
    ------
    ValueError
        When the text is not a positive number per span.

    Examples
    --------
    >>> parse_rate("1 per 90d").span.amount
    7776000.0
    """
    if isinstance(value, Rate):
        return value
    match = _RATE.match(value) if isinstance(value, str) else None
    if not match or float(match[1]) <= 0 or parse_span(match[2]).amount <= 0:
        raise ValueError(f"{value!r} is not a rate such as '1 per 90d' or '0.5 per 50000 rows'")
    return Rate(float(match[1]), parse_span(match[2]), value.strip())


ToRate = Annotated[
    Rate,
    BeforeValidator(parse_rate),
    _TO_TEXT,
    WithJsonSchema({"type": "string", "examples": ["1 per 90d", "1 per 50000 rows"]}),
]
