"""Rows to be scored, as arrays, and what the log may hold of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.profiles.grid import category_token
from evergreen.tasks.core.serving.signature import Signature

_ABSENT: Mapping[str, list[Any]] = {}


def plain_numbers(numbers: FloatArray) -> list[Any]:
    """Return numbers as a list; None where missing."""
    return [None if value != value else value for value in numbers.tolist()]  # noqa: PLR0124


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Rows that were checked against a signature."""

    signature: Signature
    """What they were checked against."""
    n: int
    """Number of rows."""
    numbers: FloatArray
    """Shape (n, p): columns of numbers (`Signature.numbers`), in C order; NaN where missing."""
    texts: tuple[list[Any], ...] = ()
    """One list of n values for each other column (`Signature.texts`); None where missing."""
    context: Mapping[str, list[Any]] = field(default_factory=lambda: _ABSENT)
    """Columns that are not scored, as given; only those the request brought."""
    ids: list[str] | None = None
    """Prediction ids the client chose (its idempotency keys)."""
    entities: list[Any] | None = None
    """Who each row is about, as given beside the rows or in the entity's column."""
    at: list[float | None] | None = None
    """When each row happened, on the model's clock, as given beside the rows or in the clock's column."""

    def rows(self) -> list[dict[str, Any]]:
        """Return each row by column, features first, then context; None where missing: what the log stores."""
        numbers = [[None if v != v else v for v in row] for row in self.numbers.tolist()]  # noqa: PLR0124
        names = [column.name for column in self.signature.numbers]
        rows = [dict(zip(names, row, strict=True)) for row in numbers]
        others = [*zip(self.signature.texts, self.texts, strict=True)]
        named = chain(((column.name, values) for column, values in others), self.context.items())
        for name, values in named:
            for row, value in zip(rows, values, strict=True):
                row[name] = value
        return rows

    def column(self, name: str) -> list[Any]:
        """Return the values of a column, a feature or not; None where missing, or not in the request."""
        if name in self.context:
            return list(self.context[name])
        for column, values in zip(self.signature.texts, self.texts, strict=True):
            if column.name == name:
                return list(values)
        for place, column in enumerate(self.signature.numbers):
            if column.name == name:
                return plain_numbers(self.numbers[:, place])
        return [None] * self.n

    def take(self, indices: Sequence[int]) -> Batch:
        """Return some of the rows, in the order given."""
        at = list(indices)

        def pick(values: list[Any]) -> list[Any]:
            return [values[i] for i in at]

        return Batch(
            signature=self.signature,
            n=len(at),
            numbers=np.ascontiguousarray(self.numbers[at]),
            texts=tuple(pick(values) for values in self.texts),
            context={name: pick(values) for name, values in self.context.items()},
            ids=None if self.ids is None else pick(self.ids),
            entities=None if self.entities is None else pick(self.entities),
            at=None if self.at is None else pick(self.at),
        )


def concat(batches: Sequence[Batch]) -> Batch:
    """Return the rows of several batches, one after the other, as far as a model needs them.

    Context, ids, entities and times stay with the single batches: they are not scored.

    Raises
    ------
    ValueError
        When there is no batch.
    """
    if not batches:
        raise ValueError("No batches to join; give at least one.")
    first = batches[0]
    if len(batches) == 1:
        return first
    numbers: npt.NDArray[np.float64] = np.concatenate([batch.numbers for batch in batches])
    joined = zip(*(batch.texts for batch in batches), strict=True)
    texts = tuple([value for part in parts for value in part] for parts in joined)
    return Batch(signature=first.signature, n=len(numbers), numbers=numbers, texts=texts)


# Rows that were checked against one version's signature, as another version takes them.


_Places = tuple[tuple[int, ...] | None, tuple[int, ...]]


def project_columns(batch: Batch, signature: Signature) -> Batch:
    """Return the rows with another signature's columns, in its order; the same rows where nothing differs.

    Parameters
    ----------
    batch : Batch
        Its signature has all columns of the other one, each a number there if it is one here.
    signature : Signature
        What the other version takes.
    """
    if batch.signature is signature or batch.signature.columns == signature.columns:
        return batch
    numbers, texts = _places(batch.signature, signature)
    return Batch(
        signature=signature,
        n=batch.n,
        numbers=batch.numbers if numbers is None else batch.numbers.take(numbers, axis=1),
        texts=tuple(batch.texts[place] for place in texts),
    )


@lru_cache(maxsize=64)
def _places(have: Signature, want: Signature) -> _Places:
    """Return where each column stands; None for numbers that stand in order already."""
    numbers = [column.name for column in have.numbers]
    texts = [column.name for column in have.texts]
    wanted = tuple(numbers.index(column.name) for column in want.numbers)
    in_order = wanted == tuple(range(len(numbers)))
    return None if in_order else wanted, tuple(texts.index(column.name) for column in want.texts)


# What the log may hold of private columns: a keyed hash of each value, or nothing; of entities, a hash.


How = Literal["hash", "leave_out"]


class Concealer:
    """Turns rows into those that may be logged.

    Parameters
    ----------
    columns : iterable of str
        ``data.private``.
    entity : str or None
        Column of the entity: where it is private, entities are hashed, however they were sent, and whatever ``how``
        says of columns. Without them rows of one customer would count as those of many in live tests.
    how : {'hash', 'leave_out'}
        ``serving.private``. The same value of the same column has the same hash, so that counting and joining still
        work; without the key nobody can try values out.
    key : bytes
        At most 64 bytes.
    """

    def __init__(self, columns: Iterable[str], *, entity: str | None, how: How, key: bytes) -> None:
        self._columns = tuple(columns)
        self._how, self._key = how, key
        self._entity = entity if entity in self._columns else None

    @property
    def digest_key(self) -> bytes:
        """What digests of whole requests are keyed with: nothing where the log holds all that they cover."""
        return self._key if self._columns else b""

    def rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows without what is private; they are changed in place."""
        for name in self._columns:
            for row in rows:
                if self._how == "leave_out":
                    row.pop(name, None)
                elif _is_there(row.get(name)):
                    row[name] = hashed(row[name], column=name, key=self._key)
        return rows

    def entities(self, entities: list[str | None] | None) -> list[str | None] | None:
        """Return who rows are about, as the log may know it: hashed as a value of the entity's column is."""
        if entities is None or self._entity is None:
            return entities
        column, key = self._entity, self._key
        return [None if one is None else hashed(one, column=column, key=key) for one in entities]


def hashed(value: Any, *, column: str, key: bytes) -> str:
    """Return the keyed hash of a column's value: 128 bits, as text.

    Equal values agree whatever type they were sent in; the same value of two columns does not, so that nobody can
    read off that they are equal.

    >>> hashed(1, column="a", key=b"k") == hashed(1.0, column="a", key=b"k") == hashed("1", column="a", key=b"k")
    True
    >>> hashed("ada", column="a", key=b"k") in (
    ...     hashed("ada", column="b", key=b"k"), hashed("ada", column="a", key=b"l"))
    False
    """
    text = f"{len(column)}:{column}{category_token(value)}"
    return f"h:{blake2b(text.encode('utf-8', 'surrogatepass'), key=key, digest_size=16).hexdigest()}"


def _is_there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))
