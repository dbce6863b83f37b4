"""Predict for requests that were taken together."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from deployments.service.asked import Asked
from deployments.service.scoring import Routed, Scored, score_rows
from tasks.core.serving.batch import concat

Predicted = tuple[Scored, list[Routed]]
"""Answers of all rows of a group, and who was meant to give them."""


class ModelFails(Exception):
    """Some model failed on some row of a group; asking apart tells which."""


def predict_at_once(group: Sequence[Asked]) -> Predicted:
    """Return the answers of all; `ModelFails` where some model fails."""
    try:
        return _score(group, apart=False)
    except Exception as error:
        raise ModelFails from error


def predict_apart(group: Sequence[Asked]) -> Predicted | Exception:
    """Return the answers of all, or what was raised in the place of those that have none; for a thread."""
    with suppress(ModelFails):
        return predict_at_once(group)
    try:
        return _score(group, apart=True)
    except Exception as error:  # none of a model's, those are told apart: whoever asked must hear something
        return error


def _score(group: Sequence[Asked], *, apart: bool) -> Predicted:
    batches = [asked.batch for asked in group]
    ids = [name for asked in group for name in asked.ids]
    return score_rows(group[0].live, batches, concat(batches), ids, apart=apart)
