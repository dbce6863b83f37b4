"""The shapes of a request: our ``records`` and ``columns``, and MLflow's ``dataframe_split``, ``inputs`` and kin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tasks.core.errors import did_you_mean
from tasks.core.serving.refused import Limits, Refused, shown
from tasks.core.serving.signature import Signature
from tasks.core.serving.table import (
    Table,
    missing_column,
    no_rows,
    require_known,
    too_many_rows,
    wrong_shape,
)

BESIDE = ("ids", "entities", "at")


def read_table(document: dict[str, Any], *, signature: Signature, limits: Limits) -> Table:
    """Return the columns of a request that holds rows in exactly one known shape.

    Raises
    ------
    Refused
        ``unknown_key``, ``no_rows_key``, ``wrong_shape``, ``ragged``, ``no_rows``, ``too_many_rows``,
        ``unknown_column``, ``missing_column`` or ``duplicate_column``.
    """
    for key in document:
        if key not in FORMS and key not in BESIDE:
            known = [*FORMS, *BESIDE]
            raise Refused(
                400,
                "unknown_key",
                f"Unknown key {key[:60]!r}. Known: {', '.join(known)}.{did_you_mean(key[:60], known)} Remove it.",
                field=key,
            )
    given = [key for key in FORMS if key in document]
    if len(given) != 1:
        raise Refused(
            400,
            "no_rows_key",
            f"The body holds {' and '.join(given) or 'no rows'}; exactly one of {', '.join(FORMS)} must hold them.",
            field=given[-1] if given else None,
        )
    key = given[0]
    table = FORMS[key](key, document[key], signature, limits)
    return _complete(table, signature, key)


def _records(key: str, rows: Any, signature: Signature, limits: Limits) -> Table:
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
    return Table(n=len(rows), columns=columns, where=lambda name, i: f"{key}[{i}].{name}")


def _columns(key: str, columns: Any, signature: Signature, limits: Limits) -> Table:
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
    return Table(n=n, columns=columns, where=lambda name, i: f"{key}.{name}[{i}]")


def _split(key: str, split: Any, signature: Signature, limits: Limits) -> Table:
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
            raise Refused(
                422,
                "duplicate_column",
                f"Column {name!r} is named twice in '{key}.columns', so it is not known which is meant. Remove one.",
                field=f"{key}.columns[{i}]",
            )
    return _positional(f"{key}.data", split["data"], names, limits)


def _inputs(key: str, given: Any, signature: Signature, limits: Limits) -> Table:
    """Read values by column, or a list of rows: objects, or lists with one value a feature in the model's order."""
    if isinstance(given, dict):
        return _columns(key, given, signature, limits)
    if isinstance(given, list) and given and isinstance(given[0], dict):
        return _records(key, given, signature, limits)
    return _positional(key, given, signature.names, limits)


def _positional(key: str, rows: Any, names: Sequence[str], limits: Limits) -> Table:
    _require_rows(key, rows, limits)
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise wrong_shape(shown(row), "a list of values", field=f"{key}[{i}]")
        if len(row) != len(names):
            raise _ragged(f"row {i} has {len(row)} values for {len(names)} columns", field=f"{key}[{i}]")
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    return Table(n=len(rows), columns=columns, where=lambda name, i: f"{key}[{i}].{name}")


def _require_rows(key: str, rows: Any, limits: Limits) -> None:
    if not isinstance(rows, list):
        raise wrong_shape(shown(rows), "a list of rows", field=key)
    if not rows:
        raise no_rows(field=key)
    if len(rows) > limits.rows:
        raise too_many_rows(len(rows), limits.rows, field=key)


def _complete(table: Table, signature: Signature, key: str) -> Table:
    for name in signature.names:
        if name not in table.columns:
            raise missing_column(name, signature, field=f"{key}.{name}")
    return table


def _ragged(what: str, *, field: str) -> Refused:
    return Refused(
        422,
        "ragged",
        f"Rows and columns do not fit: {what}. Send one value for each, null where one is missing.",
        field=field,
    )


FORMS: dict[str, Callable[[str, Any, Signature, Limits], Table]] = {
    "records": _records,
    "columns": _columns,
    "dataframe_split": _split,
    "dataframe_records": _records,
    "inputs": _inputs,
    "instances": _inputs,
}
"""How each key that may hold rows is read."""
