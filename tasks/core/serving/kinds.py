"""What values each kind of column may hold, by their Python types."""

from __future__ import annotations

from typing import Literal

Kind = Literal["number", "text", "any"]
NUMBERS: frozenset[type] = frozenset((float, int))
TEXT: frozenset[type] = frozenset((str,))
ANY: frozenset[type] = frozenset((str, float, int, bool))
TRUTH: frozenset[type] = frozenset((bool,))
NULL: frozenset[type] = frozenset((type(None),))


def types_of(kind: Kind, *, only: str, nullable: bool) -> frozenset[type]:
    """Return the types of a column's values.

    >>> sorted(one.__name__ for one in types_of("number", only="", nullable=True))
    ['NoneType', 'float', 'int']
    """
    found = {"number": NUMBERS, "text": TEXT, "any": ANY}[kind]
    if only == "boolean":
        found = TRUTH
    return found | NULL if nullable else found
