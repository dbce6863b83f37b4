"""Categories as text: one token a category, whichever library or file type it came from."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


def category_token(value: Any, *, hashed: bool = False) -> str:
    """Return a category as text, so that 1, 1.0 and '1' are one.

    >>> [category_token(value) for value in (1, 1.0, "1", Decimal("1.00"), Decimal("2.50"), True)]
    ['1', '1', '1', '1', '2.5', 'True']
    """
    text = _text(value)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12] if hashed else text


def tokens(column: pd.Series, *, hashed: bool = False) -> pd.Series:
    """Return the tokens of a column, of type object; null stays null."""
    import pandas as pd

    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) != "string":
        present = column[column.notna()]  # True, 1 and 1.0 are equal as keys but not as categories
        return (
            present.map(lambda value: category_token(value, hashed=hashed))
            .reindex(column.index)
            .astype(object)
        )
    codes, distinct = pd.factorize(column)
    names = [category_token(value, hashed=hashed) for value in distinct.tolist()]
    table = np.array([*names, None], dtype=object)
    return pd.Series(table[codes], index=column.index, name=column.name, dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else f"{value.normalize():f}"
    return str(value)
