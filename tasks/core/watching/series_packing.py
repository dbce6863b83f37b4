"""The short JSON form of a series of signals: whole numbers in a unit a signal, a few hundredths of its error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.core.drift.signals import SignalKey, SignalSeries
from tasks.core.drift.words import DriftKind
from tasks.core.metrics.scored import FloatArray

_FINENESS = 100.0
"""The unit is a power of ten of at most the smallest error / 100: far below what can be told apart."""


def pack_series(series: SignalSeries) -> dict[str, Any]:
    """Return the JSON form; null for what was not measured."""
    units = _units(series)
    return {
        "keys": [list(key) for key in series.keys],
        "starts": series.starts.tolist(),
        "rows": series.rows.astype(np.int64).tolist(),
        "units": [float(f"{unit:.0e}") for unit in units],
        "values": _whole(series.values, units),
        "errors": _whole(series.errors, units),
    }


def unpack_series(plain: Mapping[str, Any], *, window: str) -> SignalSeries:
    """Return the series written by ``pack_series``."""
    keys = tuple(SignalKey(DriftKind(kind), column, name) for kind, column, name in plain["keys"])
    shape, units = (len(plain["starts"]), len(keys)), np.array(plain["units"], dtype=np.float64)
    return SignalSeries(
        keys=keys,
        starts=np.array(plain["starts"], dtype=np.float64),
        rows=np.array(plain["rows"], dtype=np.float64),
        values=np.array(plain["values"], dtype=np.float64).reshape(shape) * units,
        errors=np.array(plain["errors"], dtype=np.float64).reshape(shape) * units,
        window=window,
    )


def _units(series: SignalSeries) -> FloatArray:
    errors = np.where(series.errors > 0, series.errors, np.inf).min(axis=0, initial=np.inf)
    size = np.nan_to_num(np.abs(series.values)).max(axis=0, initial=0.0)
    fine = np.where(np.isfinite(errors), errors / _FINENESS, np.maximum(size, 1.0) * 1e-6)
    return np.asarray(10.0 ** np.floor(np.log10(fine)))


def _whole(values: FloatArray, units: FloatArray) -> list[list[int | None]]:
    scaled = np.round(values / units)
    return [[int(x) if np.isfinite(x) else None for x in row] for row in scaled.tolist()]
