"""Streams of windows for the proofs of monitoring: 30 normal features in hourly windows, counted over a real grid.

Counts are drawn from the multinomial over the reference's bins, given the window's mean: exactly what counting so many
normal rows would give, at a hundredth of the cost. The reference profile is of so many rows that its own error is nil.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from evergreen.tasks.core.config.units import Rate, Span
from evergreen.tasks.core.drift.policy import Policy
from evergreen.tasks.core.drift.profile_signals import prepare_signals
from evergreen.tasks.core.drift.types import DriftKind, Signals, SignalSeries
from evergreen.tasks.core.profiles.grid import ColumnGrid, Grid
from evergreen.tasks.core.profiles.profile import ColumnProfile, Profile

HOUR = 3600.0
START = 1_767_225_600.0  # 2026-01-01T00:00:00Z
ROWS, FEATURES, QUARTER = 500, 30, 2160
BINS = 18
EDGES = norm.ppf(np.arange(1, BINS) / BINS)


def reference_profile(features=FEATURES):
    """Return the reference: standard normal columns in bins of equal mass, nine groups."""
    grid = ColumnGrid(kind="numeric", edges=tuple(EDGES.tolist()), cuts=tuple(range(0, BINS, 2)))
    rows = BINS * 10_000
    column = ColumnProfile(n=rows, nulls=0, counts=(rows // BINS,) * BINS)
    names = [f"x{place}" for place in range(features)]
    return Profile(grid=Grid(columns=dict.fromkeys(names, grid)), columns=dict.fromkeys(names, column))


def policy(*, kinds=(DriftKind.DATA,), name="calibrated"):
    """Return the policy of hourly windows with one false alarm per 90 days, all of it spent on these kinds."""
    return Policy(
        name=name,
        kinds=kinds,
        window=Span(HOUR, "seconds", "1h"),
        budget=Rate(1.0, Span(90 * 86400.0, "seconds", "90d"), "1 per 90d"),
    )


def means(rng, stream, windows, *, features=FEATURES):
    """Return the window means of a stream, in standard deviations of a row, shape (windows, features)."""
    if stream == "independent":
        return np.zeros((windows, features))
    if stream == "cycle":
        hours = np.arange(windows)[:, None]
        return 0.5 * np.sin(2 * np.pi * (hours / 24 + rng.random(features)))
    noise = rng.normal(size=(windows + 100, features))
    return 0.1 * lfilter([np.sqrt(1 - 0.9**2)], [1, -0.9], noise, axis=0)[100:]


def draw_counts(rng, centres, *, rows=ROWS, edges=EDGES):
    """Return counts over the reference's bins of so many normal rows around each centre, shape (..., bins)."""
    below = norm.cdf(edges - centres[..., None])
    chances = np.diff(below, prepend=0.0, append=1.0, axis=-1)
    return rng.multinomial(rows, chances)


@dataclass(frozen=True)
class Windows:
    """Signals of windows in time order: values and errors, shape (windows, k)."""

    keys: tuple
    values: np.ndarray
    errors: np.ndarray
    start: float = START

    def after(self, first):
        return Windows(self.keys, self.values[first:], self.errors[first:], start=self.start + HOUR * first)

    def followed_by(self, other):
        return Windows(
            self.keys, np.vstack([self.values, other.values]), np.vstack([self.errors, other.errors])
        )

    def series(self, first, last):
        return SignalSeries(
            keys=self.keys,
            starts=self.start + HOUR * np.arange(first, last),
            rows=np.full(last - first, float(ROWS)),
            values=self.values[first:last],
            errors=self.errors[first:last],
            window="1h",
        )

    def signals(self, place):
        floors = np.full(len(self.keys), 0.03)
        return Signals(keys=self.keys, values=self.values[place], errors=self.errors[place], floors=floors)


def signals_of(counts, reference, *, kind=DriftKind.DATA):
    """Return the signals of counts, shape (windows, features, bins): what `profile_signals` says, all at once."""
    prepared = prepare_signals(reference, kind=kind, min_effect=0.03)
    windows, rows = len(counts), int(counts[0, 0].sum())
    values, errors = [], []
    for place, column in enumerate(prepared.columns):
        found = counts[:, place] @ column.weights / rows - column.offsets
        values += [found, np.zeros((windows, 1))]
        errors.append(np.sqrt(np.r_[column.variances, column.missing_variance] / rows))
    return Windows(
        keys=prepared.keys, values=np.hstack(values), errors=np.tile(np.concatenate(errors), (windows, 1))
    )
