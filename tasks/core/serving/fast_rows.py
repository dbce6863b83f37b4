"""The quick way to read ``{"records": […]}``: typed by the signature while it is parsed, or not at all.

Whatever it does not read, right or wrong, is left to the general way; what it reads, it reads as that does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import UNSET

from tasks.core.metrics.scored import FloatArray

if TYPE_CHECKING:
    from tasks.core.serving.signature import Column

_PLAIN = str | int | float | bool | None
_BESIDE: tuple[tuple[str, Any], ...] = (
    ("ids", list[str] | None),
    ("entities", list[str | int | float | None] | None),
    ("at", str | int | float | None | list[str | int | float | None]),
)


@dataclass(frozen=True, eq=False, slots=True)
class FastRows:
    """Rows as they were read: values by column, types checked.

    Attributes
    ----------
    n : int
        Number of rows.
    numbers : array, shape (n, p)
        Columns of numbers; NaN where null.
    others : list of list
        One list for each other column, in order.
    context : dict of str to list
        Further columns that some row brought.
    beside : dict of str to object
        ``ids``, ``entities`` and ``at`` as given.
    """

    n: int
    numbers: FloatArray
    others: list[list[Any]] = field(default_factory=list)
    context: dict[str, list[Any]] = field(default_factory=dict)
    beside: dict[str, Any] = field(default_factory=dict)


def make_reader(columns: Sequence[Column], context: Sequence[str]) -> Callable[[bytes], FastRows | None]:
    """Return a function from a body to its rows; None where they must be read the general way.

    A key that stands twice is noticed by the number of quotation marks: without escapes each text has two.
    """
    numbers = [column for column in columns if column.kind == "number"]
    others = [column for column in columns if column.kind != "number"]
    decoder = msgspec.json.Decoder(_body_type([*numbers, *others], context))
    width, p = len(columns), len(numbers)
    plain = not others and not context

    def read(body: bytes) -> FastRows | None:
        try:
            found = decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        records = found.records
        n = len(records)
        if not n or b"\\" in body:
            return None
        rows = [msgspec.structs.astuple(record) for record in records]
        beside = {name: given for name, _ in _BESIDE if (given := getattr(found, name)) is not UNSET}
        texts = 1 + len(beside) + n * width + (_texts_in(beside.values()) if beside else 0)
        if plain:
            if body.count(b'"') != 2 * texts:
                return None
            return FastRows(n, np.array(rows, dtype=np.float64), [], {}, beside)
        values = [list(column) for column in zip(*(row[p:] for row in rows), strict=True)]
        brought = {
            name: column
            for name, column in zip(context, values[len(others) :], strict=True)
            if any(value is not UNSET for value in column)
        }
        texts += sum(value is not UNSET for column in brought.values() for value in column)
        if body.count(b'"') != 2 * (texts + _texts_in(values)):
            return None
        read_numbers = np.array([row[:p] for row in rows], dtype=np.float64).reshape(n, p)
        return FastRows(n, read_numbers, values[: len(others)], _filled(brought), beside)

    return read


def _body_type(columns: Sequence[Column], context: Sequence[str]) -> Any:
    """Return the type of a body, its fields renamed so that columns may be called anything."""
    fields = [(f"f{i}", _type_of(column)) for i, column in enumerate(columns)]
    more = [(f"c{i}", _PLAIN | msgspec.UnsetType, UNSET) for i in range(len(context))]
    names = [*(column.name for column in columns), *context]
    renamed: dict[str, str] = dict(zip((str(one[0]) for one in (*fields, *more)), names, strict=True))
    options: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False}
    row = msgspec.defstruct("Row", [*fields, *more], rename=renamed, **options)
    beside = [(name, kind | msgspec.UnsetType, UNSET) for name, kind in _BESIDE]
    return msgspec.defstruct("Body", [("records", list[row]), *beside], **options)  # type: ignore[valid-type]


def _type_of(column: Column) -> Any:
    if column.only == "boolean":
        return bool
    kind: Any = {"number": float, "text": str, "any": str | int | float | bool}[column.kind]
    return kind | None if column.nullable else kind


def _texts_in(lists: Any) -> int:
    """Return how many texts stand in some values and lists of values."""
    return sum(
        sum(isinstance(value, str) for value in one) if isinstance(one, list) else isinstance(one, str)
        for one in lists
    )


def _filled(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {name: [None if value is UNSET else value for value in column] for name, column in columns.items()}
