"""KS and PSI from a profile beside their values from all rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import ks_2samp

from evergreen.tasks.core.arrays import FloatArray

CHECKED = 8
PSI_TOLERANCE = 0.002
"""Largest difference allowed of PSI on deciles of the grid and on deciles of all rows of the reference."""


def compare(folder: Path) -> dict[str, float]:
    """Return the largest differences of some numeric columns.

    Raises
    ------
    AssertionError
        When a KS statistic is larger than the exact one, or smaller by more than its stated bound, or PSI is off.
    """
    measured = {
        each["column"]: each for each in json.loads((folder / "ours.json").read_text(encoding="utf-8"))
    }
    names = [name for name in measured if measured[name]["kind"] == "numeric"][
        :: max(1, len(measured) // CHECKED // 2)
    ]
    worst = {"columns": float(len(names)), "ks": 0.0, "ks_bound": 0.0, "psi": 0.0}
    for name in names:
        worst = _checked(
            measured[name],
            *(_values(folder / f"{side}.parquet", name) for side in ("reference", "current")),
            worst,
        )
    return worst


def _checked(
    found: dict[str, Any], before: FloatArray, after: FloatArray, worst: dict[str, float]
) -> dict[str, float]:
    known = before[~np.isnan(before)], after[~np.isnan(after)]
    missed = float(ks_2samp(*known, method="asymp").statistic) - found["ks"]
    assert -1e-9 <= missed <= found["ks_bound"] + 1e-9, (found["column"], missed, found["ks_bound"])
    psi = abs(_psi(before, after) - found["psi"])
    assert psi <= PSI_TOLERANCE, (found["column"], psi)
    return {
        "columns": worst["columns"],
        "ks": max(worst["ks"], missed),
        "ks_bound": max(worst["ks_bound"], found["ks_bound"]),
        "psi": max(worst["psi"], psi),
    }


def _psi(before: FloatArray, after: FloatArray) -> float:
    """Return PSI on the deciles of all rows, null being a cell of its own; half a row is added to each."""
    edges = np.unique(np.nanquantile(before, np.arange(1, 10) / 10, method="higher"))
    edges = np.unique(np.concatenate([edges, np.nextafter(edges[_heavy(before, edges)], np.inf)]))
    first, second = (_cells(values, edges) for values in (before, after))
    kept = (first > 0) | (second > 0)
    p, q = ((counts[kept] + 0.5) / (counts[kept] + 0.5).sum() for counts in (first, second))
    return float(((q - p) * np.log(q / p)).sum())


def _heavy(values: FloatArray, edges: FloatArray) -> list[bool]:
    return [bool(np.mean(values == edge) > 0.1) for edge in edges]


def _cells(values: FloatArray, edges: FloatArray) -> FloatArray:
    known = values[~np.isnan(values)]
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return np.append(counts, len(values) - len(known)).astype(np.float64)


def _values(path: Path, name: str) -> FloatArray:
    return pq.read_table(path, columns=[name]).column(0).to_numpy()
