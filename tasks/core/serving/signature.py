"""What a model takes: its columns in order, and further ones that are logged with a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.schema import Schema

# The columns of a model, and what values each kind of them may hold, by their Python types.


Kind = Literal["number", "text", "any"]
NUMBERS: frozenset[type] = frozenset((float, int))
TEXT: frozenset[type] = frozenset((str,))
ANY: frozenset[type] = frozenset((str, float, int, bool))
_TYPES: Mapping[Kind, frozenset[type]] = {"number": NUMBERS, "text": TEXT, "any": ANY}
BOOLEAN: frozenset[type] = frozenset((bool,))
NULL: frozenset[type] = frozenset((type(None),))


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a model."""

    name: str
    """Its name."""
    kind: Kind
    """``any``: text, a number, true or false (categories that are not all text)."""
    nullable: bool = True
    """True when ``null`` is a missing value to the model, else it is refused."""
    only: str = ""
    """A narrower rule: ``int64``, ``int32`` (whole numbers), ``boolean`` (any); else empty."""

    @property
    def types(self) -> frozenset[type]:
        """Python types of its values."""
        allowed = BOOLEAN if self.only == "boolean" else _TYPES[self.kind]
        return allowed | NULL if self.nullable else allowed


# The quick way to read rows that are as they should be: typed by the signature while they are parsed, or not at all.
#
# Whatever it does not read, right or wrong, is left to the general way; what it reads, it reads as that does.


_PLAIN = str | int | float | bool | None
_TIME = str | int | float | None
_METADATA: tuple[tuple[str, Any], ...] = (
    ("ids", list[str] | None),
    ("entities", list[str | int | float | None] | None),
    ("at", _TIME | list[_TIME]),
)
_NOTHING = (object(),)
_RECORDS = ("records", "dataframe_records")


@dataclass(eq=False, slots=True)
class FastRows:
    """Rows as they were read: values by column, types checked."""

    n: int
    """Number of rows."""
    numbers: FloatArray
    """Shape (n, p): columns of numbers; NaN where null."""
    others: list[list[Any]] = field(default_factory=list)
    """One list for each other column, in order."""
    context: dict[str, list[Any]] = field(default_factory=dict)
    """Further columns that some row brought."""
    beside: dict[str, Any] = field(default_factory=dict)
    """``ids``, ``entities`` and ``at`` as given."""


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
            request = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        if b"\\" in body:
            return None
        beside = {}
        if request.ids is not UNSET or request.entities is not UNSET or request.at is not UNSET:
            given = {name: getattr(request, name) for name, _ in _METADATA}
            beside = {name: value for name, value in given.items() if value is not UNSET}
        texts = len(beside) + _texts_in(beside.values()) if beside else 0
        records, split = request.records, request.dataframe_split
        if split is not UNSET:
            rows = self._split(
                split, texts, beside, alone=records is UNSET and request.dataframe_records is UNSET
            )
        else:
            if records is UNSET or request.dataframe_records is not UNSET:
                records = request.dataframe_records if records is UNSET else UNSET
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


def _body_type(columns: Sequence[Column], context: Sequence[str], cell: Any) -> Any:
    """Return the type of a body, its fields renamed so that columns may be called anything."""
    fields = [(f"f{i}", _type_of(column)) for i, column in enumerate(columns)]
    more = [(f"c{i}", _PLAIN | msgspec.UnsetType, UNSET) for i in range(len(context))]
    names = [*(column.name for column in columns), *context]
    renamed: dict[str, str] = dict(zip((str(one[0]) for one in (*fields, *more)), names, strict=True))
    options: dict[str, Any] = {"forbid_unknown_fields": True, "gc": False}
    rows: Any = list[msgspec.defstruct("Row", [*fields, *more], rename=renamed, **options)]  # type: ignore[misc]
    optional = [*_METADATA, *((name, rows) for name in _RECORDS)]
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


_NUMBERS = {"double": "", "float": "", "long": "int64", "integer": "int32"}


@dataclass(frozen=True)
class Signature:
    """The columns of a model, and how rows tell who and when they are about."""

    columns: tuple[Column, ...]
    """Features in the order of `Schema.features` (ours), or of the model's own signature (foreign)."""
    context: tuple[str, ...] = ()
    """Further columns a row may bring (entity, group, value, time): logged, not scored."""
    entity: str | None = None
    group: str | None = None
    """Column of the group that a ranking orders within; None for other problems."""
    time: str | None = None
    """``entity``, ``time``: column of the entity and of the clock; either may be a feature too."""
    clock: str = "timestamp"
    """``timestamp``, ``seconds`` or ``rows``: what event times are."""
    time_format: str | None = None
    """strptime format of event times that are not ISO 8601."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def numbers(self) -> tuple[Column, ...]:
        """Columns of `Batch.numbers`, in order."""
        return tuple(column for column in self.columns if column.kind == "number")

    @cached_property
    def texts(self) -> tuple[Column, ...]:
        """Columns of `Batch.texts`, in order."""
        return tuple(column for column in self.columns if column.kind != "number")

    @cached_property
    def whole(self) -> tuple[tuple[int, Column], ...]:
        """Columns of whole numbers, with their places in `Batch.numbers`."""
        return tuple((at, column) for at, column in enumerate(self.numbers) if column.only)

    @cached_property
    def read_fast(self) -> Callable[[bytes], FastRows | None]:
        """The quick way to read records; None from it means: read them the general way."""
        return Reader(self.columns, self.context).read

    @cached_property
    def allowed(self) -> frozenset[str]:
        """Every column a row may hold."""
        return frozenset((*self.names, *self.context))


def schema_signature(schema: Schema, config: ModelConfig, *, text: Iterable[str] = ()) -> Signature:
    """Return the signature of a model trained here: each feature may be missing, for its pipeline knows what to do.

    Parameters
    ----------
    schema : Schema
        The version's own.
    config : ModelConfig
        For the columns of entity, group, value and clock.
    text : iterable of str
        Categorical features whose known categories are all text.
    """
    only_text = frozenset(text)
    columns = [Column(name, "number") for name in schema.numeric]
    columns += [Column(name, "text" if name in only_text else "any") for name in schema.categorical]
    return _with_context(tuple(columns), config)


def typed_signature(
    types: Mapping[str, str], config: ModelConfig, *, nullable: Iterable[str] = ()
) -> Signature:
    """Return the signature of a model that was trained elsewhere.

    Parameters
    ----------
    types : mapping of str to str
        MLflow's type of each column (``double``, ``long``, ``string``, ``boolean``, … or ``any``), in order.
    config : ModelConfig
        For the columns of entity, group, value and clock.
    nullable : iterable of str
        Columns in which the model takes missing values.
    """
    missing = frozenset(nullable)
    columns = tuple(_typed(name, kind, nullable=name in missing) for name, kind in types.items())
    return _with_context(columns, config)


def _typed(name: str, kind: str, *, nullable: bool) -> Column:
    if kind in _NUMBERS:
        whole = _NUMBERS[kind]
        return Column(name, "number", nullable=nullable and not whole, only=whole)
    if kind == "boolean":
        return Column(name, "any", nullable=False, only="boolean")
    return Column(name, "text" if kind in ("string", "datetime") else "any", nullable=nullable)


def _with_context(columns: tuple[Column, ...], config: ModelConfig) -> Signature:
    data = config.data
    features = {column.name for column in columns}
    roles = dict.fromkeys(name for name in (data.entity, data.group, data.value_column, data.time) if name)
    return Signature(
        columns=columns,
        context=tuple(name for name in roles if name not in features),
        entity=data.entity,
        group=data.group if config.problem == "ranking" else None,
        time=data.time,
        clock=data.clock,
        time_format=data.time_format,
    )
