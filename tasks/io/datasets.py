"""Tell MLflow which data a run used: where from, which columns, how many rows, a digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.redact import redacted
from tasks.io.tracking import Tracker, answered

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import DatasetInput

_TYPES = {"f": "double", "i": "long", "u": "long", "b": "boolean", "M": "datetime"}


def log_datasets(tracker: Tracker, run_id: str, parts: Mapping[str, Rows], *, config: ModelConfig) -> None:
    """Log rows by the part they played (``training``, ``holdout``); empty parts are left out.

    Only names, types, counts and digests are stored, never a row; credentials in the address are dropped.
    """
    inputs = [_input(rows, context, config) for context, rows in parts.items() if len(rows)]
    with answered(tracker.tracking_uri):
        tracker.client.log_inputs(run_id, datasets=inputs)


def _input(rows: Rows, context: str, config: ModelConfig) -> DatasetInput:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=f"{config.model}-{context}",
        digest=rows.fingerprint[:36],
        source_type="evergreen",
        source=json.dumps({"uri": redacted(config.data.source), "table": config.data.table}),
        schema=json.dumps({"mlflow_colspec": _columns(rows.frame)}),
        profile=json.dumps({"num_rows": len(rows), "num_elements": int(rows.frame.size)}),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)])


def _columns(frame: pd.DataFrame) -> list[dict[str, object]]:
    return [
        {"type": _TYPES.get(frame[name].dtype.kind, "string"), "name": str(name), "required": False}
        for name in frame.columns
    ]
