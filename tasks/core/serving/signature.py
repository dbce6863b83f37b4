"""What a model takes: its columns in order, and further ones that are logged with a prediction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from tasks.core.config import ModelConfig
from tasks.core.data.schema import Schema
from tasks.core.serving.fast_rows import FastRows, make_reader
from tasks.core.serving.kinds import Column

_NUMBERS = {"double": "", "float": "", "long": "int64", "integer": "int32"}


@dataclass(frozen=True)
class Signature:
    """The columns of a model, and how rows tell who and when they are about.

    Attributes
    ----------
    columns : tuple of Column
        Features in the order of `Schema.features` (ours), or of the model's own signature (foreign).
    context : tuple of str
        Further columns a row may bring (entity, group, value, time): logged, not scored.
    entity, time : str | None
        Column of the entity and of the clock; either may be a feature too.
    group : str | None
        Column of the group that a ranking orders within; None for other problems.
    clock : str
        ``timestamp``, ``seconds`` or ``rows``: what event times are.
    time_format : str | None
        strptime format of event times that are not ISO 8601.
    """

    columns: tuple[Column, ...]
    context: tuple[str, ...] = ()
    entity: str | None = None
    group: str | None = None
    time: str | None = None
    clock: str = "timestamp"
    time_format: str | None = None

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
        return make_reader(self.columns, self.context)

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
    roles = dict.fromkeys(name for name in (data.entity, data.group, data.value, data.time) if name)
    return Signature(
        columns=columns,
        context=tuple(name for name in roles if name not in features),
        entity=data.entity,
        group=data.group if config.problem == "ranking" else None,
        time=data.time,
        clock=data.clock,
        time_format=data.time_format,
    )
