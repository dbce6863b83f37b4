"""The model's own past: signals of the reference's windows, frozen with a version; limits are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.core.drift.signals import SignalKey, SignalSeries
from tasks.core.drift.words import DriftKind
from tasks.core.metrics.scored import FloatArray
from tasks.core.verdict import Reason
from tasks.core.watching.series_packing import pack_series, unpack_series

VERSION = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """A series of signals a kind of drift, each over windows of its own.

    Attributes
    ----------
    window : str
        ``monitoring.window`` they were cut by.
    series : mapping of DriftKind to SignalSeries
        Data, outcome and the links of features are measured on the rows learned from; prediction, loss (a column of
        concept) and performance on answers the version gave to rows it had not learned from, which are fewer: there
        a window is NaN, or missing.
    reasons : tuple of Reason
        Why a series is missing.
    """

    window: str
    series: Mapping[DriftKind, SignalSeries] = field(default_factory=dict)
    reasons: tuple[Reason, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: a series a kind, by the kind's name."""
        return {
            "version": VERSION,
            "window": self.window,
            "reasons": [reason.to_dict() for reason in self.reasons],
            **{kind.value: pack_series(one) for kind, one in self.series.items()},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None) -> Past:
        """Return the past written by ``to_dict``; of a version kept without one an empty past that says so."""
        if plain is None:
            return cls(window="", reasons=(_no_past(),))
        kinds = {kind: plain[kind.value] for kind in DriftKind if kind.value in plain}
        return cls(
            window=plain["window"],
            series={kind: unpack_series(one, window=plain["window"]) for kind, one in kinds.items()},
            reasons=tuple(Reason(**reason) for reason in plain["reasons"]),
        )


def merge_series(first: SignalSeries, second: SignalSeries) -> SignalSeries:
    """Put two series with different signals beside each other, window by window; NaN where one has no such window."""
    starts = np.union1d(first.starts, second.starts)
    keys = (*first.keys, *second.keys)
    rows = np.zeros(len(starts))
    values, errors = np.full((len(starts), len(keys)), np.nan), np.full((len(starts), len(keys)), np.nan)
    edge = len(first.keys)
    for one, columns in ((first, slice(0, edge)), (second, slice(edge, None))):
        places = np.searchsorted(starts, one.starts)
        rows[places] = np.maximum(rows[places], one.rows)
        values[places, columns], errors[places, columns] = one.values, one.errors
    return SignalSeries(
        keys=keys, starts=starts, rows=rows, values=values, errors=errors, window=first.window
    )


def take_signals(series: SignalSeries, keys: tuple[SignalKey, ...]) -> SignalSeries:
    """Return some signals of a series, in the windows where any of them was measured."""
    places = [series.keys.index(key) for key in keys if key in series.keys]
    values: FloatArray = series.values[:, places]
    known = np.isfinite(values).any(axis=1)
    return SignalSeries(
        keys=tuple(series.keys[place] for place in places),
        starts=series.starts[known],
        rows=series.rows[known],
        values=values[known],
        errors=series.errors[known][:, places],
        window=series.window,
    )


def _no_past() -> Reason:
    return Reason(
        code="no_past",
        message="The version was kept without its own past (evergreen/past.json), so that limits can only come from "
        "sampling theory. Train a new version.",
    )
