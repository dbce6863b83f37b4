"""The values of one column, checked against what the signature says it holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.metrics.scored import FloatArray
from tasks.core.serving.kinds import Column
from tasks.core.serving.refused import Limits, Refused, shown
from tasks.core.serving.table import Table

BoolArray = npt.NDArray[np.bool_]
_WHOLE_WITHIN = {"int64": 2.0**53, "int32": 2.0**31 - 1}
_WANTED = {"number": "a number", "text": "text", "any": "text, a number, true or false"}


def read_numbers(table: Table, columns: tuple[Column, ...]) -> FloatArray:
    """Return the columns of numbers, shape (n, p); NaN where one is missing.

    Raises
    ------
    Refused
        ``wrong_type``, ``null_not_allowed``, ``number_out_of_range`` or ``not_whole``.
    """
    numbers = np.empty((table.n, len(columns)))
    for at, column in enumerate(columns):
        values = table.columns[column.name]
        _check_types(values, column, table)
        try:
            numbers[:, at] = values
        except OverflowError:
            raise _too_great(values, column, table) from None
        if column.only:
            _check_whole(numbers[:, at], column, table)
    return numbers


def read_values(table: Table, column: Column, *, limits: Limits) -> list[Any]:
    """Return a column that is no number as a list; None where a value is missing.

    Raises
    ------
    Refused
        ``wrong_type``, ``null_not_allowed``, ``text_too_long``, ``invalid_text`` or ``number_out_of_range``.
    """
    values = table.columns[column.name]
    _check_types(values, column, table)
    if not fits(values, limits):
        _refuse_misfit(values, column, table, limits)
    return values


def fits(values: list[Any], limits: Limits) -> bool:
    """Tell whether every text is short enough (and no database refuses it), every whole number within 64 bits."""
    return not any(_misfit(value, limits) for value in values)


def are_whole(numbers: FloatArray, column: Column) -> bool:
    """Tell whether a column that asks for whole numbers holds nothing else."""
    return not _not_whole(numbers, column).any()


def _misfit(value: Any, limits: Limits) -> bool:
    if isinstance(value, str):
        return len(value) > limits.text or "\0" in value
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _refuse_misfit(values: list[Any], column: Column, table: Table, limits: Limits) -> None:
    i = next(i for i, value in enumerate(values) if _misfit(value, limits))
    if not isinstance(values[i], str):
        raise _out_of_range(column, table, i)
    if "\0" in values[i]:
        raise Refused(
            422,
            "invalid_text",
            f"Column '{column.name}' holds a text with a null character ({shown(values[i])}), which databases do not "
            "keep. Remove it.",
            field=table.where(column.name, i),
        )
    raise Refused(
        422,
        "text_too_long",
        f"Column '{column.name}' holds a text of {len(values[i])} characters ({shown(values[i])}); at most "
        f"{limits.text} are allowed. Shorten it.",
        field=table.where(column.name, i),
    )


def _check_types(values: list[Any], column: Column, table: Table) -> None:
    allowed = column.types
    if allowed.issuperset(map(type, values)):
        return
    for i, value in enumerate(values):
        if value is None and not column.nullable:
            raise Refused(
                422,
                "null_not_allowed",
                f"Column '{column.name}' holds null, and the model takes no missing values there. Send "
                f"{_wanted(column)}.",
                field=table.where(column.name, i),
            )
        if type(value) not in allowed:
            null = ", or null where it is missing" if column.nullable else ""
            raise Refused(
                422,
                "wrong_type",
                f"Column '{column.name}' holds {shown(value)}, which is not {_wanted(column)}. Send "
                f"{_wanted(column)}{null}.",
                field=table.where(column.name, i),
            )


def _check_whole(values: FloatArray, column: Column, table: Table) -> None:
    wrong = _not_whole(values, column)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise Refused(
            422,
            "not_whole",
            f"Column '{column.name}' holds {values[i]:.15g}, and the model takes whole numbers ({column.only}) there. "
            "Send a whole number.",
            field=table.where(column.name, i),
        )


def _not_whole(values: FloatArray, column: Column) -> BoolArray:
    found: BoolArray = (values != np.floor(values)) | (np.abs(values) > _WHOLE_WITHIN[column.only])
    return found


def _too_great(values: list[Any], column: Column, table: Table) -> Refused:
    limit = 2**1024 - 2**970  # from here on a float would be infinite
    return _out_of_range(
        column, table, next(i for i, v in enumerate(values) if v is not None and abs(v) >= limit)
    )


def _out_of_range(column: Column, table: Table, row: int) -> Refused:
    return Refused(
        422,
        "number_out_of_range",
        f"Column '{column.name}' holds a whole number too great to be kept exactly. Send a smaller one, or text.",
        field=table.where(column.name, row),
    )


def _wanted(column: Column) -> str:
    return "true or false" if column.only == "boolean" else _WANTED[column.kind]
