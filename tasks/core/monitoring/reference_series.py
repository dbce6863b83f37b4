"""The model's own past: signals of the reference's windows, frozen with a version; limits are made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray, IntArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.drift.answers import AnswerMonitor
from evergreen.tasks.core.drift.performance import Performance, measure_performance
from evergreen.tasks.core.drift.profile_signals import prepare_signals
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals, SignalSeries
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.windows import Windowing
from evergreen.tasks.core.profiles.reference import OUTCOME, answer_frame, count_windows
from evergreen.tasks.core.training.features import feature_frame, outcomes
from evergreen.tasks.core.verdict import Reason

# The short JSON form of a series of signals: whole numbers in a unit a signal, a few hundredths of its error.


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


VERSION = 1
_NO_SERIES = Reason(
    code="no_past",
    message="The version was kept without its own past (evergreen/past.json), so that limits can only come from "
    "sampling theory. Train a new version.",
)
_NO_CLOCK = Reason(
    code="no_clock",
    message="The rows have no clock, so that the reference has no windows of its own; limits come from sampling "
    "theory. Name data.time, or write data.clock: rows.",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReferenceSeries:
    """A series of signals a kind of drift, each over windows of its own."""

    window: str
    """``monitoring.window`` they were cut by."""
    series: Mapping[DriftKind, SignalSeries] = field(default_factory=dict)
    """Data, outcome and the links of features are measured on the rows learned from; prediction, loss (a column of
    concept) and performance on answers the version gave to rows it had not learned from, which are fewer: there a
    window is NaN, or missing."""
    reasons: tuple[Reason, ...] = ()
    """Why a series is missing."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form: a series a kind, by the kind's name."""
        return {
            "version": VERSION,
            "window": self.window,
            "reasons": [reason.to_dict() for reason in self.reasons],
            **{kind.value: pack_series(one) for kind, one in self.series.items()},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | None) -> ReferenceSeries:
        """Return the past written by ``to_dict``; of a version kept without one an empty past that says so."""
        if plain is None:
            return cls(window="", reasons=(_NO_SERIES,))
        kinds = {kind: plain[kind.value] for kind in DriftKind if kind.value in plain}
        return cls(
            window=plain["window"],
            series={kind: unpack_series(one, window=plain["window"]) for kind, one in kinds.items()},
            reasons=tuple(map(Reason.from_dict, plain["reasons"])),
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
    measured = np.isfinite(values).any(axis=1)
    return SignalSeries(
        keys=tuple(series.keys[place] for place in places),
        starts=series.starts[measured],
        rows=series.rows[measured],
        values=values[measured],
        errors=series.errors[measured][:, places],
        window=series.window,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class FrozenReference:
    """The two documents that watching a version takes."""

    profile: Mapping[str, Any]
    """The reference in its JSON form (`evergreen.tasks.core.drift.estimate.Reference`)."""
    past: ReferenceSeries
    """Signals of the reference's own windows."""

    def read_back(self) -> FrozenReference:
        """Return the documents as they are read after they were kept: the past is rounded then."""
        profile = json.loads(json.dumps(self.profile))
        return FrozenReference(profile=profile, past=ReferenceSeries.from_dict(self.past.to_dict()))


# Measure a model's own past: cut the reference into monitoring's windows and read the signals of each.


MOST_WINDOWS = 2000
"""Newest windows that are kept."""
_COVERED = 0.9
"""Least share of a window's rows that must have an answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cut:
    """Rows in clock order, cut: window w holds the rows ``order[edges[w]] … order[edges[w + 1] - 1]``."""

    windows: tuple[Window, ...]
    order: IntArray
    lows: IntArray
    highs: IntArray

    @property
    def sizes(self) -> FloatArray:
        return (self.highs - self.lows).astype(np.float64)

    def rows(self, place: int) -> IntArray:
        return self.order[self.lows[place] : self.highs[place]]

    @property
    def of_rows(self) -> IntArray:
        """Window of each row, in the rows' own order; -1: none."""
        places = np.full(len(self.order), -1, dtype=np.int64)
        for place in range(len(self.windows)):
            places[self.rows(place)] = place
        return places


def reference_series(
    rows: Rows, scored: Scored | None, *, monitor: AnswerMonitor, schema: Schema, config: ModelConfig
) -> ReferenceSeries:
    """Return the signals of the reference's own windows.

    Windows are cut as monitoring cuts them, from the first row on: durations at multiples of their length, else so
    many rows; a window that is not full at either end is left out, so is one with fewer than ``monitoring.min_rows``
    rows, and of more than 2,000 the oldest.

    Parameters
    ----------
    rows : Rows
        Labelled rows of the reference: features, outcome and their links.
    scored : Scored | None
        Answers of the version on rows it had not learned from: out of fold (then they are measured in the windows of
        ``rows``, where they cover nine tenths of one), or on other rows (then in windows of their own). None: there
        are none at hand.
    monitor : AnswerMonitor
        Of the version's own reference.
    """
    span = str(config.monitoring.window)
    if rows.positions is None or not config.data.ordered:
        return ReferenceSeries(window=span, reasons=(_NO_CLOCK,))
    try:
        cutting = Windowing.of(config)
    except ConfigError as error:
        return ReferenceSeries(window=span, reasons=(Reason(code="no_windows", message=str(error)),))
    series: dict[DriftKind, SignalSeries] = {}
    cut = _cut(rows.positions, cutting, least=config.monitoring.min_rows)
    if cut.windows:
        series = _of_rows(rows, cut, monitor, schema, config, span)
    if scored is not None and scored.positions is not None:
        own = _answers_cut(scored.positions, cut, cutting, least=config.monitoring.min_rows)
        series = _with_answers(series, _of_answers(scored, own, monitor, span))
    return ReferenceSeries(
        window=span, series=series, reasons=() if series else (_too_short(span, len(rows)),)
    )


def refit_series(
    rows: Rows, judged: ReferenceSeries, *, monitor: AnswerMonitor, schema: Schema, config: ModelConfig
) -> ReferenceSeries:
    """Return the past of a refit: features, outcome and links anew, on its own rows; answers are the judged version's.

    No row is left that the refit has not learned from, so its own answers cannot be measured; it is the judged recipe,
    and agrees with the judged version within ``promotion.refit_agreement``.
    """
    own = reference_series(rows, None, monitor=monitor, schema=schema, config=config)
    if not judged.series or judged.window != own.window:
        return own
    loss = monitor.loss_signal(None).keys
    answers = {kind: judged.series[kind] for kind in _ANSWERS if kind in judged.series}
    if DriftKind.CONCEPT in judged.series:
        answers[DriftKind.CONCEPT] = take_signals(judged.series[DriftKind.CONCEPT], loss)
    series = _with_answers(dict(own.series), {kind: one for kind, one in answers.items() if len(one)})
    return ReferenceSeries(window=own.window, series=series, reasons=() if series else own.reasons)


_ANSWERS = (DriftKind.PREDICTION, DriftKind.PERFORMANCE)


def _of_rows(
    rows: Rows, cut: _Cut, monitor: AnswerMonitor, schema: Schema, config: ModelConfig, span: str
) -> dict[DriftKind, SignalSeries]:
    """Measure features, outcome and links window by window."""
    inputs = monitor.reference.inputs
    data = prepare_signals(inputs, kind=DriftKind.DATA, min_effect=config.drift.min_effect)
    frame = feature_frame(rows.frame, schema).assign(**{OUTCOME: outcomes(rows.frame, schema, config)})
    profiles = count_windows(frame, inputs.grid, window=cut.of_rows, many=len(cut.windows))
    readers: dict[DriftKind, Callable[..., Signals]] = {
        DriftKind.DATA: data.measure,
        DriftKind.OUTCOME: monitor.outcome.measure,
        DriftKind.CONCEPT: monitor.links.measure,
    }
    return {kind: _stack(cut, [read(one) for one in profiles], span) for kind, read in readers.items()}


def _of_answers(
    scored: Scored, cut: _Cut, monitor: AnswerMonitor, span: str
) -> dict[DriftKind, SignalSeries]:
    """Measure score, loss and metric window by window."""
    if not cut.windows:
        return {}
    frame, grid = answer_frame(scored, config=monitor.config), monitor.reference.answers.grid
    profiles = count_windows(frame, grid, window=cut.of_rows, many=len(cut.windows))
    parts = [scored.take(cut.rows(place)) for place in range(len(cut.windows))]
    loss, standard = monitor.reference.loss, monitor.standard
    signals_by_kind = {
        DriftKind.PREDICTION: [monitor.prediction.measure(one) for one in profiles],
        DriftKind.CONCEPT: [monitor.loss_signal(_quick(one, monitor.loss, loss)) for one in parts],
        DriftKind.PERFORMANCE: [
            monitor.performance_signal(_quick(one, monitor.metric, standard)) for one in parts
        ],
    }
    return {kind: _stack(cut, signals, span) for kind, signals in signals_by_kind.items()}


def _with_answers(
    series: dict[DriftKind, SignalSeries], answers: dict[DriftKind, SignalSeries]
) -> dict[DriftKind, SignalSeries]:
    """Add the answers' series; the loss becomes a column of concept."""
    concept = [one[DriftKind.CONCEPT] for one in (series, answers) if DriftKind.CONCEPT in one]
    joined = {DriftKind.CONCEPT: merge_series(*concept)} if len(concept) == 2 else {}
    return {**series, **answers, **joined}


def _quick(rows: Scored, metric: Metric, whole: Performance | None) -> Performance:
    """Measure a metric; where its error costs a hundred evaluations, take the whole reference's, scaled by rows."""
    if metric.components is not None or metric.influence is not None or whole is None or not len(rows):
        return measure_performance(rows, metric)
    return Performance(
        metric=metric.name, value=metric(rows), se=whole.se * float(np.sqrt(whole.n / len(rows))), n=len(rows)
    )


def _cut(positions: FloatArray, cutting: Windowing, *, least: int) -> _Cut:
    """Cut rows into full windows."""
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    if not len(ordered):
        return _Cut(windows=(), order=order, lows=order, highs=order)
    windows = cutting.cut(ordered, start=float(ordered[0]), ready=cutting.full_to(ordered))[0][-MOST_WINDOWS:]
    return _place(windows, order, ordered, least=np.full(len(windows), float(least)))


def _answers_cut(positions: FloatArray, cut: _Cut, cutting: Windowing, *, least: int) -> _Cut:
    """Cut answers by the windows of the rows they belong to, or by their own where they are other rows."""
    order = np.argsort(positions, kind="stable")
    ordered = positions[order]
    if not cut.windows or not len(ordered) or ordered[0] >= cut.windows[-1].end:
        return _cut(positions, cutting, least=least)
    return _place(cut.windows, order, ordered, least=np.maximum(cut.sizes * _COVERED, float(least)))


def _place(windows: Sequence[Window], order: IntArray, ordered: FloatArray, *, least: FloatArray) -> _Cut:
    lows = np.searchsorted(ordered, [window.start for window in windows], side="left")
    highs = np.searchsorted(ordered, [window.end for window in windows], side="left")
    full = highs - lows >= least
    return _Cut(windows=tuple(compress(windows, full)), order=order, lows=lows[full], highs=highs[full])


def _stack(cut: _Cut, signals: list[Signals], span: str) -> SignalSeries:
    starts = np.array([window.start for window in cut.windows], dtype=np.float64)
    return SignalSeries.stack(signals, starts=starts, rows=cut.sizes, window=span)


def _too_short(span: str, n: int) -> Reason:
    message = (
        f"The reference's {n} rows hold no full window of {span}; limits come from sampling theory. "
        "Bring more rows, or shorten monitoring.window."
    )
    return Reason(code="no_windows", message=message, observed=0, limit=1, n=n)
