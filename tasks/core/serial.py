"""Structs that serialise themselves: dataclasses to plain JSON and back, driven by their fields and types.

What was stored stays readable: keys are the fields' names, or the ``key`` of a field's metadata.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, ClassVar, Self, Union, get_args, get_origin, get_type_hints

Reader = Callable[[Any], Any]


class Struct:
    """A dataclass with a JSON form: one key a field, in their order.

    Enums become their values, moments ISO text, durations seconds, tuples and arrays lists, dataclasses objects; a
    number that is not finite becomes null, and null in a field of type ``float`` is read as NaN.

    A field's metadata may hold ``key`` (its name in JSON), ``sparse`` (left out where it is None), ``flat`` (its own
    keys stand among those of the struct), ``stored: False`` (not in the form at all), and ``write`` and ``read``
    (functions used in place of the type's own; None is null for all of them).
    """

    also: ClassVar[tuple[str, ...]] = ()
    """Properties that the JSON form has besides the fields; passed over when it is read."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return _write_fields(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Return what ``to_dict`` wrote; unknown keys are passed over, missing ones take the field's default."""
        return _read_fields(cls, plain)


def null_as(value: float) -> dict[str, Reader]:
    """Return the metadata of a field in which null is read as a value, e.g. as infinity."""
    return {"read": lambda plain: value if plain is None else plain}


def to_plain(value: Any) -> Any:
    """Return a value as JSON can say it.

    >>> to_plain({"at": datetime(2026, 1, 2), "rates": (0.5, math.nan), "held": timedelta(minutes=1)})
    {'at': '2026-01-02T00:00:00', 'rates': [0.5, None], 'held': 60.0}
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or (isinstance(value, str | int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Mapping):
        return {to_plain(name): to_plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(one) for one in value]
    return _write_object(value)


def from_plain(kind: Any, plain: Any) -> Any:
    """Return a value of a type from its JSON form.

    >>> from_plain(tuple[float, ...], [1.0, None]), from_plain(datetime | None, None)
    ((1.0, nan), None)
    """
    return _reader(kind)(plain)


_WRITERS: tuple[tuple[type[Any], Callable[[Any], Any]], ...] = (
    (Struct, lambda value: value.to_dict()),
    (Enum, lambda value: value.value),
    (datetime, datetime.isoformat),
    (timedelta, timedelta.total_seconds),
)


def _write_object(value: Any) -> Any:
    for kind, write in _WRITERS:
        if isinstance(value, kind):
            return write(value)
    if hasattr(value, "model_dump"):  # pydantic
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return _write_fields(value)
    return to_plain(value.tolist()) if hasattr(value, "dtype") else value


def _write_fields(value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for field in _stored(value):
        one = getattr(value, field.name)
        written: Any = None if one is None else field.metadata.get("write", to_plain)(one)
        if field.metadata.get("flat"):
            plain |= written
        elif one is not None or not field.metadata.get("sparse"):
            plain[field.metadata.get("key", field.name)] = written
    return plain | {name: to_plain(getattr(value, name)) for name in getattr(value, "also", ())}


def _read_fields(cls: Any, plain: Mapping[str, Any]) -> Any:
    given = {
        name: read(plain if flat else plain[key])
        for name, key, flat, optional, read in _readers(cls)
        if flat or not optional or key in plain
    }
    return cls(**given)


@cache
def _readers(cls: Any) -> tuple[tuple[str, str, bool, bool, Reader], ...]:
    """Return of each field its name, key, whether it is flat, whether it may be missing, and what reads it."""
    kinds = get_type_hints(cls)
    return tuple(
        (
            one.name,
            one.metadata.get("key", one.name),
            one.metadata.get("flat", False),
            one.default is not MISSING or one.default_factory is not MISSING,
            _field_reader(kinds[one.name], one.metadata.get("read")),
        )
        for one in _stored(cls)
    )


def _field_reader(kind: Any, read: Reader | None) -> Reader:
    """Return what reads a field; a function of its own is spared null where the field may be None."""
    if read is None:
        return _reader(kind)
    return partial(_read_optional, read) if NoneType in get_args(kind) else read


def _stored(struct: Any) -> Iterator[Field[Any]]:
    return (one for one in fields(struct) if one.init and one.metadata.get("stored", True))


@cache
def _reader(kind: Any) -> Reader:
    """Return what reads a type's JSON form; as it stands where the type says nothing of it."""
    origin, kinds = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        members = [one for one in kinds if one is not NoneType]
        return partial(_read_optional, _reader(members[0])) if len(members) == 1 else _as_it_is
    if origin is tuple:
        return partial(
            _read_tuple, [_reader(one) for one in kinds if one is not Ellipsis], kinds[-1] is Ellipsis
        )
    if origin is list:
        return lambda plain: [_reader(kinds[0])(one) for one in plain]
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return lambda plain: {_reader(kinds[0])(key): _reader(kinds[1])(one) for key, one in plain.items()}
    if getattr(origin, "__name__", "") == "ndarray":
        return partial(_read_array, get_args(kinds[1])[0])
    return _reader_of_class(kind) if isinstance(kind, type) else _as_it_is


def _reader_of_class(kind: type[Any]) -> Reader:
    if issubclass(kind, Struct):
        return kind.from_dict
    if issubclass(kind, Enum):
        return kind
    if is_dataclass(kind):
        return partial(_read_fields, kind)
    if hasattr(kind, "model_validate"):  # pydantic
        return kind.model_validate
    readers: dict[type[Any], Reader] = {
        float: lambda plain: math.nan if plain is None else plain,
        datetime: datetime.fromisoformat,
        timedelta: lambda plain: timedelta(seconds=plain),
    }
    return readers.get(kind, _as_it_is)


def _read_array(dtype: Any, plain: Any) -> Any:
    import numpy as np

    return np.array(plain, dtype=dtype)


def _as_it_is(plain: Any) -> Any:
    return plain


def _read_optional(read: Reader, plain: Any) -> Any:
    return None if plain is None else read(plain)


def _read_tuple(readers: list[Reader], repeated: bool, plain: Any) -> tuple[Any, ...]:
    if repeated:
        return tuple(map(readers[0], plain))
    return tuple(read(one) for read, one in zip(readers, plain, strict=True))
