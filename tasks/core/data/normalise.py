"""One set of column types whatever the source: float64, int64, bool, timestamps and plain objects."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

import numpy as np
import pandas as pd


def normalise(frame: pd.DataFrame, *, numeric: Collection[str] = ()) -> pd.DataFrame:
    """Return a new frame of plain types; the given one is left as it is, and shares what needed no change.

    Categories and text types become objects, nullable and Arrow types their NumPy kin (whole numbers with nulls
    become floats), decimals and 32-bit floats float64, and text in the columns listed as ``numeric`` is read as
    numbers where it all can be.
    """
    columns = {name: _plain(frame[name], name in numeric) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index, columns=frame.columns, copy=False)


def _plain(column: pd.Series, wanted_numeric: bool) -> pd.Series:
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return _plain(column.astype(kind.categories.dtype), wanted_numeric)
    if isinstance(kind, pd.ArrowDtype):
        column = pd.Series(column.array.to_numpy(), index=column.index, name=column.name)
        return _plain(column.infer_objects(), wanted_numeric)
    if pd.api.types.is_extension_array_dtype(kind) and not isinstance(kind, pd.DatetimeTZDtype):
        return _plain(_without_extension(column), wanted_numeric)
    if pd.api.types.is_float_dtype(kind):
        return column.astype(np.float64, copy=False)
    if pd.api.types.is_integer_dtype(kind):
        return column.astype(np.float64 if kind == np.uint64 else np.int64, copy=False)
    return _plain_objects(column, wanted_numeric) if pd.api.types.is_object_dtype(kind) else column


def _without_extension(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        whole = pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any()
        return column.astype(np.int64) if whole else column.astype(np.float64)
    if pd.api.types.is_bool_dtype(column.dtype) and not column.isna().any():
        return column.astype(bool)
    return pd.Series(
        [None if null else value for value, null in zip(column, column.isna(), strict=True)], column.index
    )


def _plain_objects(column: pd.Series, wanted_numeric: bool) -> pd.Series:
    if pd.api.types.infer_dtype(column, skipna=True) == "decimal":
        return column.map(lambda value: float(value) if isinstance(value, Decimal) else np.nan).astype(
            np.float64
        )
    if wanted_numeric:
        numbers = pd.to_numeric(column, errors="coerce")
        if bool((numbers.notna() | column.isna()).all()):
            return numbers.astype(np.float64)
    return column
