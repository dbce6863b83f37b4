"""Zones of timestamps: those without one are UTC, which is said; a mixture is refused."""

from __future__ import annotations

import pandas as pd

from tasks.core.errors import DataError
from tasks.core.verdict import Reason

_OFFSET = r"(?:[zZ]|:\d{2}(?:[.,]\d+)?\s*[+-]\d{2}(?::?\d{2})?)\s*$"


def note_naive_times(series: pd.Series) -> tuple[Reason, ...]:
    """Return a note when some timestamp carries no zone, so that it was taken as UTC."""
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        return ()
    naive = pd.api.types.is_datetime64_dtype(series.dtype)
    if not naive:
        naive = bool((~series.dropna().astype(str).str.contains(_OFFSET, regex=True)).any())
    message = f"Times in '{series.name}' carry no zone and are read as UTC. Write offsets to be sure."
    return (Reason(code="naive_times", message=message, observed=str(series.name)),) if naive else ()


def refuse_mixed_zones(series: pd.Series) -> None:
    """Check that either all timestamps carry a zone or none: of a mixture nobody knows where its rows belong.

    Raises
    ------
    DataError
        Saying how many carry none.
    """
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return
    zoned = series.dropna().astype(str).str.contains(_OFFSET, regex=True)
    if zoned.any() and not zoned.all():
        raise DataError(
            f"{int((~zoned).sum())} of {len(zoned)} times in '{series.name}' carry no zone, the others do, so that "
            "these rows may belong to other windows. Write every time with its offset."
        )
