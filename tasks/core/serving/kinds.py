"""The columns of a model, and what values each kind of them may hold, by their Python types."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a model.

    Attributes
    ----------
    name : str
        Its name.
    kind : {'number', 'text', 'any'}
        ``any``: text, a number, true or false (categories that are not all text).
    nullable : bool
        True when ``null`` is a missing value to the model, else it is refused.
    only : str
        A narrower rule: ``int64``, ``int32`` (whole numbers), ``boolean`` (any); else empty.
    """

    name: str
    kind: Kind
    nullable: bool = True
    only: str = ""

    @property
    def types(self) -> frozenset[type]:
        """Python types of its values."""
        return types_of(self.kind, only=self.only, nullable=self.nullable)
