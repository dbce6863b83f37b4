"""From the bytes of a request to rows, or a refusal that names the field."""

from __future__ import annotations

from typing import Any

from tasks.core.serving.batch import Batch
from tasks.core.serving.beside import read_entities, read_ids, read_times
from tasks.core.serving.body import read_body
from tasks.core.serving.forms import read_table
from tasks.core.serving.refused import Limits, Refused
from tasks.core.serving.signature import Column, Signature
from tasks.core.serving.table import Table
from tasks.core.serving.values import read_numbers, read_values

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
    return read_document(read_body(body, limits=limits), signature=signature, limits=limits)


def read_document(document: dict[str, Any], *, signature: Signature, limits: Limits) -> Batch:
    """Return the rows of a request that was parsed; errors as `decode`."""
    table = read_table(document, signature=signature, limits=limits)
    n = table.n
    numbers = read_numbers(table, signature.numbers)
    texts = tuple(read_values(table, column, limits=limits) for column in signature.texts)
    context = {
        name: read_values(table, Column(name, "any"), limits=limits)
        for name in signature.context
        if name in table.columns
    }
    entities = read_entities(document.get("entities"), n=n)
    if entities is None:
        entities = read_entities(_role(signature.entity, table), n=n, field=signature.entity or "")
    times = read_times(document.get("at"), n=n, signature=signature)
    if times is None:
        times = read_times(_role(signature.time, table), n=n, signature=signature, field=signature.time or "")
    return Batch(
        signature=signature,
        n=n,
        numbers=numbers,
        texts=texts,
        context=context,
        ids=read_ids(document.get("ids"), n=n),
        entities=entities,
        at=times,
    )


def _role(name: str | None, table: Table) -> list[Any] | None:
    """Return the values of the column with a role; None where the request did not bring it."""
    return None if name is None else table.columns.get(name)
