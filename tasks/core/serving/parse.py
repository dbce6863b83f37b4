"""The shapes of a request: our ``records`` and ``columns``, and MLflow's ``dataframe_split``, ``inputs`` and kin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, FloatArray
from evergreen.tasks.core.errors import did_you_mean
from evergreen.tasks.core.serving.answers import RequestLimits, RequestRefused, shown
from evergreen.tasks.core.serving.signature import Column, Signature

# Rows as columns, whatever shape they came in, with the words to point at one of their values.


_LISTED = 20


@dataclass(frozen=True, kw_only=True, eq=False)
class RequestTable:
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
    raise RequestRefused(
        422,
        "unknown_column",
        f"Unknown column {str(name)[:60]!r}. The model takes: {listed(signature)}.{hint} Rename or remove it.",
        field=field,
    )


def missing_column(name: str, signature: Signature, *, field: str) -> RequestRefused:
    """Return the refusal of rows that lack a column (``missing_column``)."""
    return RequestRefused(
        422,
        "missing_column",
        f"Missing column {name!r}. The model takes: {listed(signature)}. Add it; a missing value is null.",
        field=field,
    )


def wrong_shape(what: str, wanted: str, *, field: str) -> RequestRefused:
    """Return the refusal of a part that is not what its place needs (``wrong_shape``)."""
    return RequestRefused(400, "wrong_shape", f"'{field}' is {what}; it must be {wanted}.", field=field)


def too_many_rows(n: int, most: int, *, field: str) -> RequestRefused:
    """Return the refusal of too many rows (``too_many_rows``)."""
    return RequestRefused(
        413,
        "too_many_rows",
        f"The request holds {n} rows; at most {most} are allowed at once. Send them in several requests.",
        field=field,
    )


def no_rows(*, field: str) -> RequestRefused:
    """Return the refusal of a request without rows (``no_rows``)."""
    return RequestRefused(422, "no_rows", f"'{field}' holds no rows. Send at least one.", field=field)


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
    Refused
        ``unknown_key``, ``no_rows_key``, ``wrong_shape``, ``ragged``, ``no_rows``, ``too_many_rows``,
        ``unknown_column``, ``missing_column`` or ``duplicate_column``.
    """
    for key in document:
        if key not in FORMS and key not in REQUEST_METADATA:
            known = [*FORMS, *REQUEST_METADATA]
            raise RequestRefused(
                400,
                "unknown_key",
                f"Unknown key {key[:60]!r}. Known: {', '.join(known)}.{did_you_mean(key[:60], known)} Remove it.",
                field=key,
            )
    given = [key for key in FORMS if key in document]
    if len(given) != 1:
        raise RequestRefused(
            400,
            "no_rows_key",
            f"The body holds {' and '.join(given) or 'no rows'}; exactly one of {', '.join(FORMS)} must hold them.",
            field=given[-1] if given else None,
        )
    key = given[0]
    table = FORMS[key](key, document[key], signature, limits)
    return _complete(table, signature, key)


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
    columns |= {
        name: [row.get(name) for row in rows]
        for name in signature.context
        if any(name in row for row in rows)
    }
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
            raise _ragged(f"'{name}' has {len(values)} values, others have {n}", field=f"{key}.{name}")
    if n == 0:
        raise no_rows(field=key)
    if n > limits.rows:
        raise too_many_rows(n, limits.rows, field=key)
    return RequestTable(n=n, columns=columns, where=lambda name, i: f"{key}.{name}[{i}]")


def _split(key: str, split: Any, signature: Signature, limits: RequestLimits) -> RequestTable:
    """Read ``{"columns": [name, …], "data": [[value, …], …]}``, perhaps with an ``index``, which says nothing."""
    if not isinstance(split, dict) or not {"columns", "data"} <= split.keys() <= {"columns", "data", "index"}:
        keys = (
            f"an object with {', '.join(split)[:60] or 'no keys'}"
            if isinstance(split, dict)
            else shown(split)
        )
        raise wrong_shape(keys, "an object with columns and data (and perhaps index)", field=key)
    names = split["columns"]
    if not isinstance(names, list):
        raise wrong_shape(shown(names), "a list of column names", field=f"{key}.columns")
    for i, name in enumerate(names):
        if not isinstance(name, str):
            raise wrong_shape(shown(name), "a column name", field=f"{key}.columns[{i}]")
        require_known(name, signature, field=f"{key}.columns[{i}]")
        if name in names[:i]:
            raise RequestRefused(
                422,
                "duplicate_column",
                f"Column {name!r} is named twice in '{key}.columns', so it is not known which is meant. Remove one.",
                field=f"{key}.columns[{i}]",
            )
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
            raise _ragged(f"row {i} has {len(row)} values for {len(names)} columns", field=f"{key}[{i}]")
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return RequestTable(n=len(rows), columns=columns, where=lambda name, i: f"{key}[{i}].{name}")


def _require_rows(key: str, rows: Any, limits: RequestLimits) -> None:
    if not isinstance(rows, list):
        raise wrong_shape(shown(rows), "a list of rows", field=key)
    if not rows:
        raise no_rows(field=key)
    if len(rows) > limits.rows:
        raise too_many_rows(len(rows), limits.rows, field=key)


def _complete(table: RequestTable, signature: Signature, key: str) -> RequestTable:
    for name in signature.names:
        if name not in table.columns:
            raise missing_column(name, signature, field=f"{key}.{name}")
    return table


def _ragged(what: str, *, field: str) -> RequestRefused:
    return RequestRefused(
        422,
        "ragged",
        f"Rows and columns do not fit: {what}. Send one value for each, null where one is missing.",
        field=field,
    )


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


_WHOLE_WITHIN = {"int64": 2.0**53, "int32": 2.0**31 - 1}
_WANTED = {"number": "a number", "text": "text", "any": "text, a number, true or false"}


def read_numbers(table: RequestTable, columns: tuple[Column, ...]) -> FloatArray:
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


def read_values(table: RequestTable, column: Column, *, limits: RequestLimits) -> list[Any]:
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
        raise _out_of_range(column, table, i)
    if "\0" in values[i]:
        raise RequestRefused(
            422,
            "invalid_text",
            f"Column '{column.name}' holds a text with a null character ({shown(values[i])}), which databases do not "
            "keep. Remove it.",
            field=table.where(column.name, i),
        )
    raise RequestRefused(
        422,
        "text_too_long",
        f"Column '{column.name}' holds a text of {len(values[i])} characters ({shown(values[i])}); at most "
        f"{limits.text} are allowed. Shorten it.",
        field=table.where(column.name, i),
    )


def _check_types(values: list[Any], column: Column, table: RequestTable) -> None:
    allowed = column.types
    if allowed.issuperset(map(type, values)):
        return
    for i, value in enumerate(values):
        if value is None and not column.nullable:
            raise RequestRefused(
                422,
                "null_not_allowed",
                f"Column '{column.name}' holds null, and the model takes no missing values there. Send "
                f"{_wanted(column)}.",
                field=table.where(column.name, i),
            )
        if type(value) not in allowed:
            null = ", or null where it is missing" if column.nullable else ""
            raise RequestRefused(
                422,
                "wrong_type",
                f"Column '{column.name}' holds {shown(value)}, which is not {_wanted(column)}. Send "
                f"{_wanted(column)}{null}.",
                field=table.where(column.name, i),
            )


def _check_whole(values: FloatArray, column: Column, table: RequestTable) -> None:
    wrong = _not_whole(values, column)
    if wrong.any():
        i = int(np.argmax(wrong))
        raise RequestRefused(
            422,
            "not_whole",
            f"Column '{column.name}' holds {values[i]:.15g}, and the model takes whole numbers ({column.only}) there. "
            "Send a whole number.",
            field=table.where(column.name, i),
        )


def _not_whole(values: FloatArray, column: Column) -> BoolArray:
    found: BoolArray = (values != np.floor(values)) | (np.abs(values) > _WHOLE_WITHIN[column.only])
    return found


def _too_great(values: list[Any], column: Column, table: RequestTable) -> RequestRefused:
    limit = 2**1024 - 2**970  # from here on a float would be infinite
    return _out_of_range(
        column, table, next(i for i, v in enumerate(values) if v is not None and abs(v) >= limit)
    )


def _out_of_range(column: Column, table: RequestTable, row: int) -> RequestRefused:
    return RequestRefused(
        422,
        "number_out_of_range",
        f"Column '{column.name}' holds a whole number too great to be kept exactly. Send a smaller one, or text.",
        field=table.where(column.name, row),
    )


def _wanted(column: Column) -> str:
    return "true or false" if column.only == "boolean" else _WANTED[column.kind]
