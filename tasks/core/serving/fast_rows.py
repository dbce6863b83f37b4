"""The quick way to read rows that are as they should be: typed by the signature while they are parsed, or not at all.

Whatever it does not read, right or wrong, is left to the general way; what it reads, it reads as that does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET

from tasks.core.metrics.scored import FloatArray
from tasks.core.serving.kinds import Column

_PLAIN = str | int | float | bool | None
_TIME = str | int | float | None
_BESIDE: tuple[tuple[str, Any], ...] = (
    ("ids", list[str] | None),
    ("entities", list[str | int | float | None] | None),
    ("at", _TIME | list[_TIME]),
)
_NOTHING = (object(),)
_RECORDS = ("records", "dataframe_records")


@dataclass(eq=False, slots=True)
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


class Reader:
    """Reads the bodies of one signature.

    A key that stands twice is noticed by the number of quotation marks: without escapes each text has two.

    Parameters
    ----------
    columns : sequence of Column
        The features.
    context : sequence of str
        Further columns a row may bring.
    """

    def __init__(self, columns: Sequence[Column], context: Sequence[str]) -> None:
        self._numbers = [column.name for column in columns if column.kind == "number"]
        self._others = [column for column in columns if column.kind != "number"]
        self._context = tuple(context)
        ordered = [column for column in columns if column.kind == "number"] + self._others
        self._plain = not self._others and not context
        cell: Any = _PLAIN
        if self._plain:
            cell = float | None if all(column.nullable for column in columns) else float
        self._decode = msgspec.json.Decoder(_body_type(ordered, self._context, cell)).decode
        self._places = {name: at for at, name in enumerate(self._numbers)}
        self._types = [(column.name, column.types) for column in ordered]

    def read(self, body: bytes) -> FastRows | None:
        """Return the rows of a body; None where they must be read the general way."""
        try:
            found = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if b"\\" in body:
            return None
        beside = {}
        if found.ids is not UNSET or found.entities is not UNSET or found.at is not UNSET:
            given = {name: getattr(found, name) for name, _ in _BESIDE}
            beside = {name: value for name, value in given.items() if value is not UNSET}
        texts = len(beside) + _texts_in(beside.values()) if beside else 0
        records, split = found.records, found.dataframe_split
        if split is not UNSET:
            rows = self._split(
                split, texts, beside, alone=records is UNSET and found.dataframe_records is UNSET
            )
        else:
            if records is UNSET or found.dataframe_records is not UNSET:
                records = found.dataframe_records if records is UNSET else UNSET
            rows = None if records is UNSET or not records else self._records(records, texts, beside)
        if rows is None or body.count(b'"') != 2 * rows[0]:
            return None
        return rows[1]

    def _records(self, records: list[Any], texts: int, beside: dict[str, Any]) -> tuple[int, FastRows]:
        """Return how many texts the body has, and the rows."""
        n, p = len(records), len(self._numbers)
        rows = [msgspec.structs.astuple(record) for record in records]
        texts += 1 + n * (p + len(self._others))
        if self._plain:
            return texts, FastRows(n, np.array(rows, dtype=np.float64), beside=beside)
        values = [list(column) for column in zip(*(row[p:] for row in rows), strict=True)]
        brought = {}
        for name, column in zip(self._context, values[len(self._others) :], strict=True):
            there = sum(value is not UNSET for value in column)
            texts += there
            if there:
                brought[name] = [None if value is UNSET else value for value in column]
        numbers = np.array([row[:p] for row in rows], dtype=np.float64).reshape(n, p)
        texts += _texts_in(values)
        return texts, FastRows(n, numbers, values[: len(self._others)], brought, beside)

    def _split(
        self, split: Any, texts: int, beside: dict[str, Any], *, alone: bool
    ) -> tuple[int, FastRows] | None:
        """Return the same for ``dataframe_split``; None where it is not as it should be."""
        names, data = split.columns, split.data
        p = len(self._numbers)
        if not alone or not data or any(len(row) != len(names) for row in data):
            return None
        texts += 3 + len(names) + (split.index is not UNSET)
        if not self._plain:
            return self._mixed(names, data, texts, beside)
        if len(names) != p:
            return None
        places = [self._places.get(name, -1) for name in names]
        if places != list(range(p)):
            if sorted(places) != list(range(p)):
                return None
            numbers = np.empty((len(data), p))
            numbers[:, places] = data
        else:
            numbers = np.array(data, dtype=np.float64)
        return texts, FastRows(len(data), numbers, beside=beside)

    def _mixed(
        self, names: list[str], data: list[list[Any]], texts: int, beside: dict[str, Any]
    ) -> tuple[int, FastRows] | None:
        """Return the same where columns hold more than numbers."""
        columns = {name: list(values) for name, values in zip(names, zip(*data, strict=True), strict=True)}
        known = [
            types for name, types in self._types if types.issuperset(map(type, columns.get(name, _NOTHING)))
        ]
        context = {name: columns[name] for name in self._context if name in columns}
        if (
            len(known) != len(self._types)
            or len(names) != len(known) + len(context)
            or len(columns) != len(names)
        ):
            return None
        numbers = np.empty((len(data), len(self._numbers)))
        try:
            for at, name in enumerate(self._numbers):
                numbers[:, at] = columns[name]
        except OverflowError:
            return None
        others = [columns[column.name] for column in self._others]
        texts += _texts_in(others) + _texts_in(context.values())
        return texts, FastRows(len(data), numbers, others, context, beside)


def make_reader(columns: Sequence[Column], context: Sequence[str]) -> Callable[[bytes], FastRows | None]:
    """Return a function from a body to its rows; None where they must be read the general way."""
    return Reader(columns, context).read


def _body_type(columns: Sequence[Column], context: Sequence[str], cell: Any) -> Any:
    """Return the type of a body, its fields renamed so that columns may be called anything."""
    fields = [(f"f{i}", _type_of(column)) for i, column in enumerate(columns)]
    more = [(f"c{i}", _PLAIN | msgspec.UnsetType, UNSET) for i in range(len(context))]
    names = [*(column.name for column in columns), *context]
    renamed: dict[str, str] = dict(zip((str(one[0]) for one in (*fields, *more)), names, strict=True))
    options: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False}
    rows: Any = list[msgspec.defstruct("Row", [*fields, *more], rename=renamed, **options)]  # type: ignore[misc]
    optional = [*_BESIDE, *((name, rows) for name in _RECORDS)]
    body = [(name, kind | msgspec.UnsetType, UNSET) for name, kind in optional]
    inside: list[Any] = [
        ("columns", list[str]),
        ("data", list[list[cell]]),
        ("index", list[int] | msgspec.UnsetType, UNSET),
    ]
    table = msgspec.defstruct("Split", inside, **options) | msgspec.UnsetType
    return msgspec.defstruct("Body", [*body, ("dataframe_split", table, UNSET)], **options)


def _type_of(column: Column) -> Any:
    if column.only == "boolean":
        return bool
    kind: Any = {"number": float, "text": str, "any": str | int | float | bool}[column.kind]
    return kind | None if column.nullable else kind


def _texts_in(lists: Iterable[Any]) -> int:
    """Return how many texts stand in some values and lists of values."""
    return sum(
        sum(isinstance(value, str) for value in one) if isinstance(one, list) else isinstance(one, str)
        for one in lists
    )
