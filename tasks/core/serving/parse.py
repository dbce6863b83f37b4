"""The shapes of a request: our ``records`` and ``columns``, and MLflow's ``dataframe_split``, ``inputs`` and kin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, FloatArray
from evergreen.tasks.core.errors import did_you_mean
from evergreen.tasks.core.serving.answers import RequestLimits, RequestRefused, refusal, shown
from evergreen.tasks.core.serving.signature import Column, Signature

# Rows as columns, whatever shape they came in, with the words to point at one of their values.


_LISTED = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestTable:
    """Columns as they were sent, all of one length."""

    n: int
    """Number of rows."""
    columns: dict[str, list[Any]]
    """Values by column."""
    where: Callable[[str, int], str]
    """Says how the request wrote the value of a column (and row), e.g. ``records[0].amount``."""


def require_known(name: Any, signature: Signature, *, field: str) -> None:
    """Refuse a column that the model does not take (``unknown_column``)."""
    if name not in signature.allowed:
        short = str(name)[:60]
        hint = did_you_mean(short, sorted(signature.allowed))
        raise refusal("unknown_column", field=field, column=short, takes=listed(signature), hint=hint)


def missing_column(name: str, signature: Signature, *, field: str) -> RequestRefused:
    """Return the refusal of rows that lack a column."""
    return refusal("missing_column", field=field, column=name, takes=listed(signature))


def wrong_shape(given: str, wanted: str, *, field: str) -> RequestRefused:
    """Return the refusal of a part that is not what its place needs."""
    return refusal("wrong_shape", field=field, given=given, wanted=wanted)


def listed(signature: Signature) -> str:
    """Return the names of the features, and of what else a row may bring."""
    names = ", ".join(signature.names[:_LISTED])
    more = len(signature.names) - _LISTED
    also = f"; a row may also bring {', '.join(signature.context)}" if signature.context else ""
    return f"{names}{f' and {more} more' if more > 0 else ''}{also}"


REQUEST_METADATA = ("ids", "entities", "at")


def read_table(document: dict[str, Any], *, signature: Signature, limits: RequestLimits) -> RequestTable:
    """Return the columns of a request that holds rows in exactly one known shape.

    Raises
    ------
    RequestRefused
        ``unknown_key``, ``no_rows_key``, ``wrong_shape``, ``ragged``, ``no_rows``, ``too_many_rows``,
        ``unknown_column``, ``missing_column`` or ``duplicate_column``.
    """
    for key in document:
        if key not in FORMS and key not in REQUEST_METADATA:
            known, short = [*FORMS, *REQUEST_METADATA], key[:60]
            hint = did_you_mean(short, known)
            raise refusal("unknown_key", field=key, key=short, known=", ".join(known), hint=hint)
    given = [key for key in FORMS if key in document]
    if len(given) != 1:
        words = " and ".join(given) or "no rows"
        raise refusal("no_rows_key", field=given[-1] if given else None, given=words, known=", ".join(FORMS))
    key = given[0]
    table = FORMS[key](key, document[key], signature, limits)
    absent = next((name for name in signature.names if name not in table.columns), None)
    if absent is not None:
        raise missing_column(absent, signature, field=f"{key}.{absent}")
    return table


def _records(key: str, rows: Any, signature: Signature, limits: RequestLimits) -> RequestTable:
    """Read ``[{column: value, …}, …]``."""
    _require_rows(key, rows, limits)
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise wrong_shape(shown(row), "an object of values by column", field=f"{key}[{i}]")
        if not row.keys() <= signature.allowed:
            name = next(name for name in row if name not in signature.allowed)
            require_known(name, signature, field=f"{key}[{i}].{name}")
    absent = next(
        ((i, name) for name in signature.names for i, row in enumerate(rows) if name not in row), None
    )
    if absent is not None:
        raise missing_column(absent[1], signature, field=f"{key}[{absent[0]}].{absent[1]}")
    columns = {name: [row[name] for row in rows] for name in signature.names}
    brought = [name for name in signature.context if any(name in row for row in rows)]
    columns |= {name: [row.get(name) for row in rows] for name in brought}
    return RequestTable(n=len(rows), columns=columns, where=lambda name, i: f"{key}[{i}].{name}")


def _columns(key: str, columns: Any, signature: Signature, limits: RequestLimits) -> RequestTable:
    """Read ``{column: [value, …], …}``."""
    if not isinstance(columns, dict):
        raise wrong_shape(shown(columns), "an object of lists by column", field=key)
    for name, values in columns.items():
        require_known(name, signature, field=f"{key}.{name}")
        if not isinstance(values, list):
            raise wrong_shape(shown(values), "a list with one value a row", field=f"{key}.{name}")
    n = len(next(iter(columns.values()), []))
    for name, values in columns.items():
        if len(values) != n:
            what = f"'{name}' has {len(values)} values, others have {n}"
            raise refusal("ragged", field=f"{key}.{name}", what=what)
    _require_count(key, n, limits)
    return RequestTable(n=n, columns=columns, where=lambda name, i: f"{key}.{name}[{i}]")


def _split(key: str, split: Any, signature: Signature, limits: RequestLimits) -> RequestTable:
    """Read ``{"columns": [name, …], "data": [[value, …], …]}``, perhaps with an ``index``, which says nothing."""
    if not isinstance(split, dict) or not {"columns", "data"} <= split.keys() <= {"columns", "data", "index"}:
        given = shown(split)
        if isinstance(split, dict):
            given = f"an object with {', '.join(split)[:60] or 'no keys'}"
        raise wrong_shape(given, "an object with columns and data (and perhaps index)", field=key)
    names = split["columns"]
    if not isinstance(names, list):
        raise wrong_shape(shown(names), "a list of column names", field=f"{key}.columns")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise wrong_shape(shown(name), "a column name", field=f"{key}.columns[{i}]")
        require_known(name, signature, field=f"{key}.columns[{i}]")
        if name in names[:i]:
            raise refusal("duplicate_column", field=f"{key}.columns[{i}]", column=name, key=key)
    return _positional(f"{key}.data", split["data"], names, limits)


def _inputs(key: str, given: Any, signature: Signature, limits: RequestLimits) -> RequestTable:
    """Read values by column, or a list of rows: objects, or lists with one value a feature in the model's order."""
    if isinstance(given, dict):
        return _columns(key, given, signature, limits)
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return _records(key, given, signature, limits)
    return _positional(key, given, signature.names, limits)


def _positional(key: str, rows: Any, names: Sequence[str], limits: RequestLimits) -> RequestTable:
    _require_rows(key, rows, limits)
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise wrong_shape(shown(row), "a list of values", field=f"{key}[{i}]")
        if len(row) != len(names):
            what = f"row {i} has {len(row)} values for {len(names)} columns"
            raise refusal("ragged", field=f"{key}[{i}]", what=what)
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return RequestTable(n=len(rows), columns=columns, where=lambda name, i: f"{key}[{i}].{name}")


def _require_rows(key: str, rows: Any, limits: RequestLimits) -> None:
    if not isinstance(rows, list):
        raise wrong_shape(shown(rows), "a list of rows", field=key)
    _require_count(key, len(rows), limits)


def _require_count(key: str, n: int, limits: RequestLimits) -> None:
    if n == 0:
        raise refusal("no_rows", field=key)
    if n > limits.rows:
        raise refusal("too_many_rows", field=key, given=n, most=limits.rows)


FORMS: dict[str, Callable[[str, Any, Signature, RequestLimits], RequestTable]] = {
    "records": _records,
    "columns": _columns,
    "dataframe_split": _split,
    "dataframe_records": _records,
    "inputs": _inputs,
    "instances": _inputs,
}
"""How each key that may hold rows is read."""


# The values of one column, checked against what the signature says it holds.


_INFINITE = 2**1024 - 2**970
"""Least whole number that is infinite as a float."""
_WHOLE_WITHIN = {"int64": 2.0**53, "int32": 2.0**31 - 1}
_WANTED = {"number": "a number", "text": "text", "any": "text, a number, true or false"}


def read_numbers(table: RequestTable, columns: tuple[Column, ...]) -> FloatArray:
    """Return the columns of numbers, shape (n, p); NaN where one is missing.

    Raises
    ------
    RequestRefused
        ``wrong_type``, ``null_not_allowed``, ``number_out_of_range`` or ``not_whole``.
    """
    numbers = np.empty((table.n, len(columns)))
    for at, column in enumerate(columns):
        values = table.columns[column.name]
        _check_types(values, column, table)
        try:
            numbers[:, at] = values
        except OverflowError:
            i = next(i for i, value in enumerate(values) if value is not None and abs(value) >= _INFINITE)
            field = table.where(column.name, i)
            raise refusal("number_out_of_range", column=column.name, field=field) from None
        if column.only:
            _check_whole(numbers[:, at], column, table)
    return numbers


def read_values(table: RequestTable, column: Column, *, limits: RequestLimits) -> list[Any]:
    """Return a column that is no number as a list; None where a value is missing.

    Raises
    ------
    RequestRefused
        ``wrong_type``, ``null_not_allowed``, ``text_too_long``, ``invalid_text`` or ``number_out_of_range``.
    """
    values = table.columns[column.name]
    _check_types(values, column, table)
    if not fits(values, limits):
        _refuse_misfit(values, column, table, limits)
    return values


def fits(values: list[Any], limits: RequestLimits) -> bool:
    """Tell whether every text is short enough (and no database refuses it), every whole number within 64 bits."""
    return not any(_misfit(value, limits) for value in values)


def are_whole(numbers: FloatArray, column: Column) -> bool:
    """Tell whether a column that asks for whole numbers holds nothing else."""
    return not _not_whole(numbers, column).any()


def _misfit(value: Any, limits: RequestLimits) -> bool:
    if isinstance(value, str):
        return len(value) > limits.text or "\0" in value
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _refuse_misfit(values: list[Any], column: Column, table: RequestTable, limits: RequestLimits) -> None:
    i = next(i for i, value in enumerate(values) if _misfit(value, limits))
    if not isinstance(values[i], str):
        raise refusal("number_out_of_range", column=column.name, field=table.where(column.name, i))
    about = {"column": column.name, "given": shown(values[i]), "field": table.where(column.name, i)}
    if "\0" in values[i]:
        raise refusal("invalid_text", **about)
    raise refusal("text_too_long", length=len(values[i]), most=limits.text, **about)


def _check_types(values: list[Any], column: Column, table: RequestTable) -> None:
    allowed = column.types
    if allowed.issuperset(map(type, values)):
        return
    wanted = "true or false" if column.only == "boolean" else _WANTED[column.kind]
    i = next(i for i, value in enumerate(values) if type(value) not in allowed)
    about = {"column": column.name, "wanted": wanted, "field": table.where(column.name, i)}
    if values[i] is None:
        raise refusal("null_not_allowed", **about)
    null = ", or null where it is missing" if column.nullable else ""
    raise refusal("wrong_type", given=shown(values[i]), null=null, **about)


def _check_whole(values: FloatArray, column: Column, table: RequestTable) -> None:
    wrong = _not_whole(values, column)
    if wrong.any():
        i = int(np.argmax(wrong))
        about = {"column": column.name, "only": column.only, "field": table.where(column.name, i)}
        raise refusal("not_whole", given=f"{values[i]:.15g}", **about)


def _not_whole(values: FloatArray, column: Column) -> BoolArray:
    inexact: BoolArray = (values != np.floor(values)) | (np.abs(values) > _WHOLE_WITHIN[column.only])
    return inexact
