"""A bounded sample of rows without private columns: for pages drawn from rows, never for a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tasks.core.config import ModelConfig
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.learning.features import feature_frame
from tasks.core.profiles.tokens import tokens
from tasks.core.seeds import seed_for

Document = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Compared:
    """Columns that can be compared on two samples.

    Attributes
    ----------
    numeric, categorical : tuple of str
        The columns, by kind.
    left_out : dict of str to str
        Each column that cannot be compared, and why.
    """

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]
    left_out: dict[str, str]


def draw_sample(
    frame: pd.DataFrame, *, schema: Schema, config: ModelConfig, rng: np.random.Generator
) -> Document:
    """Draw rows of the features, private columns left out, in their JSON form.

    Parameters
    ----------
    frame : DataFrame, shape (n, …)
        Rows with at least the features; left untouched.
    rng : Generator
        What draws, without replacement; ``monitoring.report_rows`` rows, or all where there are fewer.

    Returns
    -------
    dict
        ``numeric`` and ``categorical``: values by column; categories are text, numbers have seven digits, what is
        missing or infinite is null.
    """
    private = set(config.data.private)
    most = min(len(frame), config.monitoring.report_rows)
    chosen = np.sort(rng.choice(len(frame), size=most, replace=False))
    features = feature_frame(frame.iloc[chosen], schema)
    kinds = {"numeric": schema.numeric, "categorical": schema.categorical}
    plain = {"numeric": _numbers, "categorical": _categories}
    return {
        kind: {name: plain[kind](features[name]) for name in names if name not in private}
        for kind, names in kinds.items()
    }


def frozen_sample(rows: Rows, *, schema: Schema, config: ModelConfig) -> dict[str, Document]:
    """Return the document ``sample`` that is stored with a version; nothing where it is switched off."""
    if not config.monitoring.report_rows:
        return {}
    rng = np.random.default_rng(seed_for(config.model, rows.fingerprint, "sample"))
    return {"sample": draw_sample(rows.frame, schema=schema, config=config, rng=rng)}


def sample_frame(document: Mapping[str, Any]) -> pd.DataFrame:
    """Return the sample as a frame: float64 and object columns."""
    columns = {name: pd.Series(values, dtype=np.float64) for name, values in document["numeric"].items()}
    columns |= {name: pd.Series(values, dtype=object) for name, values in document["categorical"].items()}
    return pd.DataFrame(columns)


def compare_columns(
    reference: Mapping[str, Any], current: Mapping[str, Any], *, private: frozenset[str] = frozenset()
) -> Compared:
    """Say which columns of two samples (in their JSON form) can be compared, and why others cannot."""
    usable: dict[str, list[str]] = {"numeric": [], "categorical": []}
    left_out: dict[str, str] = {}
    for name in sorted({*_names(reference), *_names(current)}):
        kinds = [_kind(side, name) for side in (reference, current)]
        why = _unusable(name, kinds, private) or _empty(name, kinds, (reference, current))
        if why:
            left_out[name] = why
        else:
            usable[str(kinds[0])].append(name)
    return Compared(
        numeric=tuple(usable["numeric"]), categorical=tuple(usable["categorical"]), left_out=left_out
    )


def _unusable(name: str, kinds: list[str | None], private: frozenset[str]) -> str:
    before, now = kinds
    if name in private:
        return "private"
    if before is None:
        return "the reference has no such column"
    if now is None:
        return "the window has no such column"
    return "" if before == now else f"{before} in the reference, {now} in the window"


def _empty(name: str, kinds: list[str | None], sides: tuple[Mapping[str, Any], Mapping[str, Any]]) -> str:
    for side, kind, where in zip(sides, kinds, ("the reference", "the window"), strict=True):
        if all(value is None for value in side[str(kind)][name]):
            return f"no value in the sample of {where}"
    return ""


def _names(document: Mapping[str, Any]) -> list[str]:
    return [*document["numeric"], *document["categorical"]]


def _kind(document: Mapping[str, Any], name: str) -> str | None:
    return next((kind for kind in ("numeric", "categorical") if name in document[kind]), None)


def _numbers(column: pd.Series) -> list[float | None]:
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in column.tolist()]


def _categories(column: pd.Series) -> list[str | None]:
    text = tokens(column)
    return [None if pd.isna(value) else str(value) for value in text.tolist()]
