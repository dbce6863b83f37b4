"""A model that was trained elsewhere, behind the feature frames of this project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.errors import DataError, InputError

_WHOLE = {"long": np.int64, "integer": np.int32}


class ForeignModel:
    """Gives a model its columns in its own order and types.

    Parameters
    ----------
    model : object
        With ``predict``, perhaps ``predict_proba`` and ``classes_``.
    types : mapping of str to str
        Type of each input column by its MLflow name (``double``, ``long``, ``string``, … or ``any``), in order.
    """

    def __init__(self, model: Any, types: Mapping[str, str]) -> None:
        self.model = model
        self.types = dict(types)
        if hasattr(model, "predict_proba"):
            self.classes_ = model.classes_
            self.predict_proba = self._predict_proba

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the input columns, in the model's order."""
        return tuple(self.types)

    def predict(self, frame: pd.DataFrame) -> Any:
        """Answer with whatever the model answers.

        Raises
        ------
        InputError
            When the model itself fails on these rows.
        """
        return self._ask(self.model.predict, frame)

    def conform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the model's columns in its order and types.

        Raises
        ------
        DataError
            When a column is missing, or should hold whole numbers and does not.
        """
        missing = [name for name in self.types if name not in frame.columns]
        if missing:
            raise DataError(f"The model takes the column '{missing[0]}', which the rows do not have. Add it.")
        return pd.DataFrame({name: _as_type(frame[name], kind) for name, kind in self.types.items()})

    def _predict_proba(self, frame: pd.DataFrame) -> Any:
        return self._ask(self.model.predict_proba, frame)

    def _ask(self, method: Callable[[pd.DataFrame], Any], frame: pd.DataFrame) -> Any:
        given = self.conform(frame)
        try:
            return method(given)
        except Exception as error:  # a foreign model may raise anything; all of it means the same
            first = " ".join(str(error).split())[:300]
            raise InputError(
                f"The model fails on the data ({type(error).__name__}: {first}). Correct the model, or the types of "
                "its signature."
            ) from error


def _as_type(column: pd.Series, kind: str) -> pd.Series:
    if kind in ("double", "float"):
        return column.astype(np.float64 if kind == "double" else np.float32)
    if kind == "boolean":
        return column.astype(bool)
    if kind not in _WHOLE:
        return column
    values = column.astype(np.float64)
    if not (np.isfinite(values).all() and (values == values.round()).all()):
        raise DataError(
            f"The model takes whole numbers in '{column.name}', and the rows hold missing or broken ones. "
            "Log it with a signature of doubles."
        )
    return values.astype(_WHOLE[kind])
