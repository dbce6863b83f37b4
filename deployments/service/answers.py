"""Answers as bytes: Evergreen's own shape, and that of MLflow's server."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from tasks.io.served import Served


def own_answer(model: str, rows: Sequence[Served]) -> bytes:
    """Return ``{"model", "predictions": [{"id", "version", "variant", "score", "decision"}]}``."""
    predictions = [
        {
            "id": row.prediction_id,
            "version": row.version,
            "variant": row.variant,
            "score": row.score,
            "decision": row.decision,
        }
        for row in rows
    ]
    return orjson.dumps({"model": model, "predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)


def mlflow_answer(model: str, rows: Sequence[Served]) -> bytes:
    """Return ``{"predictions": […]}`` as MLflow's server does, and beside it what was logged.

    A prediction is the decision; where nothing is decided (regression, ranking) it is the score.
    """
    return orjson.dumps(
        {
            "predictions": [row.score if row.decision is None else row.decision for row in rows],
            "model": model,
            "ids": [row.prediction_id for row in rows],
            "versions": [row.version for row in rows],
            "variants": [row.variant for row in rows],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
