"""The last check at a version before it answers: the rows it is asked for, and whether its answers will do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from evergreen.tasks.core.errors import EvergreenError, InputError
from evergreen.tasks.core.serving.answers import Answers, RequestLimits, RequestRefused
from evergreen.tasks.core.serving.batch import Batch
from evergreen.tasks.core.serving.compile import CompiledModel
from evergreen.tasks.core.serving.decode import decode
from evergreen.tasks.core.serving.signature import Signature

_SAMPLES = {"number": (0.0, 1.0), "text": ("a", "b"), "any": ("a", "b")}


class SmokeFailed(EvergreenError):
    """A version that must not answer."""

    code = "smoke_failed"


def smoke_rows(signature: Signature, example: Sequence[Mapping[str, Any]] = ()) -> Batch:
    """Return rows to ask a version for: its own example, where that fits its signature, else made-up ones.

    Parameters
    ----------
    signature : Signature
        What it takes.
    example : sequence of mapping
        Rows of the model's input example, by column; missing values are None.
    """
    limits = RequestLimits(rows=max(len(example), 2))
    made_up = [example_row(signature, at) for at in (0, 1)]
    if example:
        rows = [{name: row.get(name) for name in signature.names} for row in example]
        with suppress(RequestRefused):  # blank private columns may lack what the model insists on
            return decode(_body(rows), signature=signature, limits=limits)
    return decode(_body(made_up), signature=signature, limits=limits)


def example_row(signature: Signature, at: int = 0) -> dict[str, Any]:
    """Return a made-up row, the first or the second, that a signature admits."""
    return {
        column.name: bool(at) if column.only == "boolean" else _SAMPLES[column.kind][at]
        for column in signature.columns
    }


def smoke_test_version(model: CompiledModel, rows: Batch) -> Answers:
    """Ask a version for rows, as the service will, and return what it says.

    Parameters
    ----------
    model : CompiledModel
        In the form that will answer; that it equals the estimator was seen when it was compiled.
    rows : Batch, n rows
        `smoke_rows`.

    Raises
    ------
    SmokeFailed
        When it raises, or answers other than one finite score a row.
    """
    try:
        answers = model.score(rows)
    except InputError as error:
        raise SmokeFailed(f"It fails on {rows.n} rows of its own example: {error}") from error
    scores = np.asarray(answers.scores)
    if len(scores) != rows.n or not np.isfinite(scores).all():
        raise SmokeFailed(f"Its answers to {rows.n} rows are not one finite score each.")
    return answers


def _body(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps({"records": rows}, allow_nan=False).encode()
