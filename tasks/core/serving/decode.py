"""From the bytes of a request to rows, or a refusal that names the field."""

from __future__ import annotations

from typing import Any

from tasks.core.serving.batch import Batch
from tasks.core.serving.beside import read_entities, read_ids, read_times
from tasks.core.serving.body import read_body
from tasks.core.serving.fast_rows import FastRows
from tasks.core.serving.forms import read_table
from tasks.core.serving.kinds import Column
from tasks.core.serving.refused import Limits, Refused
from tasks.core.serving.signature import Signature
from tasks.core.serving.table import Table
from tasks.core.serving.values import are_whole, fits, read_numbers, read_values

__all__ = ["Limits", "Refused", "decode"]


def decode(body: bytes, *, signature: Signature, limits: Limits) -> Batch:
    """Return the rows of a request.

    Parameters
    ----------
    body : bytes
        UTF-8 JSON: ``{"records": [{…}]}`` or ``{"columns": {name: […]}}``, perhaps with ``ids``, ``entities`` and
        ``at`` beside; or MLflow's ``dataframe_split``, ``dataframe_records``, ``inputs`` and ``instances``.
    signature : Signature
        What the model takes.
    limits : Limits
        How much one request may ask for.

    Raises
    ------
    Refused
        For whatever is wrong; no other exception leaves this function.
    """
    if len(body) <= limits.body_bytes:
        rows = signature.read_fast(body)
        if rows is not None and _within(rows, signature, limits):
            return _from_rows(rows, signature)
    return decode_generally(body, signature=signature, limits=limits)


def decode_generally(body: bytes, *, signature: Signature, limits: Limits) -> Batch:
    """Return the rows of a request in any accepted shape; `decode` without its quick way for records."""
    document = read_body(body, limits=limits)
    table = read_table(document, signature=signature, limits=limits)
    numbers = read_numbers(table, signature.numbers)
    texts = [read_values(table, column, limits=limits) for column in signature.texts]
    context = {
        name: read_values(table, Column(name, "any"), limits=limits)
        for name in signature.context
        if name in table.columns
    }
    rows = FastRows(table.n, numbers, texts, context, document)
    return _batch(
        rows, signature, entities=_role(signature.entity, table), times=_role(signature.time, table)
    )


def _from_rows(rows: FastRows, signature: Signature) -> Batch:
    if not rows.beside and signature.entity is None and signature.time is None:
        return Batch(signature, rows.n, rows.numbers, tuple(rows.others), rows.context)
    return _batch(
        rows,
        signature,
        entities=_values(signature.entity, rows, signature),
        times=_values(signature.time, rows, signature),
    )


def _batch(
    rows: FastRows, signature: Signature, *, entities: list[Any] | None, times: list[Any] | None
) -> Batch:
    """Put a batch together; what stands beside the rows goes before what stands in a column of theirs."""
    n, beside = rows.n, rows.beside
    who = read_entities(beside.get("entities"), n=n)
    when = read_times(beside.get("at"), n=n, signature=signature)
    if who is None and entities is not None:
        who = read_entities(entities, n=n, field=str(signature.entity))
    if when is None and times is not None:
        when = read_times(times, n=n, signature=signature, field=str(signature.time))
    ids = read_ids(beside.get("ids"), n=n)
    return Batch(signature, n, rows.numbers, tuple(rows.others), rows.context, ids, who, when)


def _within(rows: FastRows, signature: Signature, limits: Limits) -> bool:
    """Tell whether rows that were read quickly keep the rules that their types alone do not say."""
    return (
        rows.n <= limits.rows
        and (not rows.others or all(fits(values, limits) for values in rows.others))
        and (not rows.context or all(fits(values, limits) for values in rows.context.values()))
        and (
            not signature.whole
            or all(are_whole(rows.numbers[:, at], column) for at, column in signature.whole)
        )
    )


def _role(name: str | None, table: Table) -> list[Any] | None:
    """Return the values of the column with a role; None where the request did not bring it."""
    return None if name is None else table.columns.get(name)


def _values(name: str | None, rows: FastRows, signature: Signature) -> list[Any] | None:
    """Return the same for rows that were read quickly."""
    if name is None or name in rows.context or name not in signature.names:
        return rows.context.get(name or "")
    numbers = [column.name for column in signature.numbers]
    if name in numbers:
        return [None if value != value else value for value in rows.numbers[:, numbers.index(name)].tolist()]  # noqa: PLR0124
    return rows.others[[column.name for column in signature.texts].index(name)]
