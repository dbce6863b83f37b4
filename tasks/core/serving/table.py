"""Rows as columns, whatever shape they came in, with the words to point at one of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import did_you_mean
from tasks.core.serving.refused import Refused
from tasks.core.serving.signature import Signature

_LISTED = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """Columns as they were sent, all of one length.

    Attributes
    ----------
    n : int
        Number of rows.
    columns : dict of str to list
        Values by column.
    where : callable
        Says how the request wrote the value of a column (and row), e.g. ``records[0].amount``.
    """

    n: int
    columns: dict[str, list[Any]]
    where: Callable[[str, int], str]


def require_known(name: Any, signature: Signature, *, field: str) -> None:
    """Refuse a column that the model does not take (``unknown_column``)."""
    if name in signature.allowed:
        return
    hint = did_you_mean(str(name)[:60], sorted(signature.allowed))
    raise Refused(
        422,
        "unknown_column",
        f"Unknown column {str(name)[:60]!r}. The model takes: {listed(signature)}.{hint} Rename or remove it.",
        field=field,
    )


def missing_column(name: str, signature: Signature, *, field: str) -> Refused:
    """Return the refusal of rows that lack a column (``missing_column``)."""
    return Refused(
        422,
        "missing_column",
        f"Missing column {name!r}. The model takes: {listed(signature)}. Add it; a missing value is null.",
        field=field,
    )


def wrong_shape(what: str, wanted: str, *, field: str) -> Refused:
    """Return the refusal of a part that is not what its place needs (``wrong_shape``)."""
    return Refused(400, "wrong_shape", f"'{field}' is {what}; it must be {wanted}.", field=field)


def too_many_rows(n: int, most: int, *, field: str) -> Refused:
    """Return the refusal of too many rows (``too_many_rows``)."""
    return Refused(
        413,
        "too_many_rows",
        f"The request holds {n} rows; at most {most} are allowed at once. Send them in several requests.",
        field=field,
    )


def no_rows(*, field: str) -> Refused:
    """Return the refusal of a request without rows (``no_rows``)."""
    return Refused(422, "no_rows", f"'{field}' holds no rows. Send at least one.", field=field)


def listed(signature: Signature) -> str:
    """Return the names of the features, and of what else a row may bring."""
    names = ", ".join(signature.names[:_LISTED])
    more = len(signature.names) - _LISTED
    also = f"; a row may also bring {', '.join(signature.context)}" if signature.context else ""
    return f"{names}{f' and {more} more' if more > 0 else ''}{also}"
