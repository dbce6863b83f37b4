"""Score requests that wait together in one call, and give each its own answers back."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.core.serving.answers import Answers
from tasks.core.serving.batch import Batch, concat
from tasks.core.serving.compiled import CompiledModel
from tasks.core.serving.refused import Refused


def score_together(model: CompiledModel, batches: Sequence[Batch]) -> list[Answers | Refused]:
    """Return each batch's answers, or its own refusal, in order.

    Where the model refuses some row of the joint batch each batch is scored alone, so that a request is never refused
    for another one's rows.
    """
    if len(batches) == 1:
        return [_score(model, batches[0])]
    if not batches:
        return []
    joint = _score(model, concat(batches))
    if isinstance(joint, Refused):
        return [_score(model, batch) for batch in batches]
    parts: list[Answers | Refused] = []
    start = 0
    for batch in batches:
        parts.append(joint.part(start, start + batch.n))
        start += batch.n
    return parts


def _score(model: CompiledModel, batch: Batch) -> Answers | Refused:
    try:
        return model.score(batch)
    except Refused as refused:
        return refused
