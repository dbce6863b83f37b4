"""The signature of a model that was trained elsewhere: its own types, and where it takes missing values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.serving.answers import Decider
from tasks.core.serving.batch import Batch
from tasks.core.serving.frame_model import FrameModel
from tasks.core.serving.refused import Refused
from tasks.core.serving.signature import Signature, typed_signature


def foreign_signature(
    estimator: Any,
    types: Mapping[str, str],
    config: ModelConfig,
    *,
    decider: Decider,
    example: pd.DataFrame | None = None,
) -> Signature:
    """Return the signature, after asking the model about missing values column by column.

    Parameters
    ----------
    estimator : object
        Answers data frames.
    types : mapping of str to str
        MLflow's type of each column, in order.
    config : ModelConfig
        For the columns that are logged beside.
    decider : Decider
        Its classes.
    example : DataFrame, optional
        Rows the model answers; the first one is asked with. By default zeros and one-letter texts.

    Notes
    -----
    A model that does not answer the row itself says nothing about missing values, so that none are allowed.
    """
    model = FrameModel(
        signature=typed_signature(types, config, nullable=types),
        estimator=estimator,
        problem=config.problem.value,
        decider=decider,
    )
    row = _row(model.signature, example)
    names = [column.name for column in model.signature.columns if column.nullable]
    if not _answers(model, row):
        return typed_signature(types, config)
    if _answers(model, _without(row, names)):
        return model.signature
    return typed_signature(
        types, config, nullable=[name for name in names if _answers(model, _without(row, [name]))]
    )


def _row(signature: Signature, example: pd.DataFrame | None) -> Batch:
    """Return one row to ask with."""
    given = {} if example is None or example.empty else example.iloc[0].to_dict()
    numbers = [given.get(column.name, 0.0) for column in signature.numbers]
    texts = [given.get(column.name, column.only == "boolean" or "x") for column in signature.texts]
    return Batch(
        signature=signature,
        n=1,
        numbers=np.array([numbers], dtype=np.float64).reshape(1, len(numbers)),
        texts=tuple([None if pd.isna(value) else value] for value in texts),
    )


def _without(row: Batch, names: list[str]) -> Batch:
    """Return the row with some values missing."""
    absent = set(names)
    gone = np.array([column.name in absent for column in row.signature.numbers], dtype=bool)
    return Batch(
        signature=row.signature,
        n=1,
        numbers=np.where(gone, np.nan, row.numbers),
        texts=tuple(
            [None] if column.name in absent else values
            for column, values in zip(row.signature.texts, row.texts, strict=True)
        ),
    )


def _answers(model: FrameModel, row: Batch) -> bool:
    try:
        model.score(row)
    except Refused:
        return False
    return True
