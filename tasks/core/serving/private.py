"""What the log may hold of private columns: a keyed hash of each value, or nothing."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, Literal

How = Literal["hash", "leave_out"]


class Concealer:
    """Turns rows into those that may be logged.

    Parameters
    ----------
    columns : iterable of str
        ``data.private``.
    entity : str or None
        Column of the entity: where it is private, entities are concealed too, however they were sent.
    how : {'hash', 'leave_out'}
        ``serving.private``. The same value has the same hash, so that counting and joining still work; without the
        key nobody can try values out.
    key : bytes
        At most 64 bytes.
    """

    def __init__(self, columns: Iterable[str], *, entity: str | None, how: How, key: bytes) -> None:
        self._columns = tuple(columns)
        self._how, self._key = how, key
        self._hides_entities = entity in self._columns

    def rows(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows without what is private; they are changed in place."""
        for name in self._columns:
            for row in rows:
                if self._how == "leave_out":
                    row.pop(name, None)
                elif row.get(name) is not None:
                    row[name] = hashed(row[name], key=self._key)
        return rows

    def entities(self, entities: list[str | None] | None) -> list[str | None] | None:
        """Return who rows are about, as the log may know it."""
        if entities is None or not self._hides_entities:
            return entities
        if self._how == "leave_out":
            return None
        return [None if one is None else hashed(one, key=self._key) for one in entities]


def hashed(value: Any, *, key: bytes) -> str:
    """Return a value's keyed hash: 128 bits, as text.

    >>> hashed("ada", key=b"k") == hashed("ada", key=b"k"), hashed("ada", key=b"k") == hashed("ada", key=b"l")
    (True, False)
    """
    digest = blake2b(repr(value).encode("utf-8", "surrogatepass"), key=key, digest_size=16)
    return f"h:{digest.hexdigest()}"
