"""What the log may hold of private columns: a keyed hash of each value, or nothing; of who rows are about, a hash."""

from __future__ import annotations

import math
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Literal

from evergreen.tasks.core.profiles.grid import category_token

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
