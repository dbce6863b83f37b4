"""Measure a model's own past: cut the reference into monitoring's windows and read the signals of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window
from tasks.core.data.rows import Rows
from tasks.core.data.schema import Schema
from tasks.core.drift.answers import AnswerWatch
from tasks.core.drift.performance import Performance, measure_performance
from tasks.core.drift.profile_signals import prepare_signals
from tasks.core.drift.signals import Signals, SignalSeries
from tasks.core.drift.words import DriftKind
from tasks.core.errors import ConfigError
from tasks.core.learning.features import feature_frame, outcomes
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import FloatArray, IntArray, Scored
from tasks.core.profiles.reference import OUTCOME, answer_frame
from tasks.core.profiles.windows import count_windows
from tasks.core.verdict import Reason
from tasks.core.watching.cutting import Cutting
from tasks.core.watching.past import Past, merge_series, take_signals

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
        found = np.full(len(self.order), -1, dtype=np.int64)
        for place in range(len(self.windows)):
            found[self.rows(place)] = place
        return found


def reference_past(
    rows: Rows, scored: Scored | None, *, watch: AnswerWatch, schema: Schema, config: ModelConfig
) -> Past:
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
    watch : AnswerWatch
        Of the version's own reference.
    """
    span = str(config.monitoring.window)
    if rows.positions is None or not config.data.ordered:
        return Past(window=span, reasons=(_no_clock(),))
    try:
        cutting = Cutting.of(config)
    except ConfigError as error:
        return Past(window=span, reasons=(Reason(code="no_windows", message=str(error)),))
    series: dict[DriftKind, SignalSeries] = {}
    cut = _cut(rows.positions, cutting, least=config.monitoring.min_rows)
    if cut.windows:
        series = _of_rows(rows, cut, watch, schema, config, span)
    if scored is not None and scored.positions is not None:
        own = _answers_cut(scored.positions, cut, cutting, least=config.monitoring.min_rows)
        series = _with_answers(series, _of_answers(scored, own, watch, span))
    return Past(window=span, series=series, reasons=() if series else (_too_short(span, len(rows)),))


def refit_past(rows: Rows, judged: Past, *, watch: AnswerWatch, schema: Schema, config: ModelConfig) -> Past:
    """Return the past of a refit: features, outcome and links anew, on its own rows; answers are the judged version's.

    No row is left that the refit has not learned from, so its own answers cannot be measured; it is the judged recipe,
    and agrees with the judged version within ``promotion.refit_agreement``.
    """
    own = reference_past(rows, None, watch=watch, schema=schema, config=config)
    if not judged.series or judged.window != own.window:
        return own
    loss = watch.loss_signal(Performance(metric=watch.loss.name, value=float("nan"))).keys
    answers = {kind: judged.series[kind] for kind in _ANSWERS if kind in judged.series}
    if DriftKind.CONCEPT in judged.series:
        answers[DriftKind.CONCEPT] = take_signals(judged.series[DriftKind.CONCEPT], loss)
    series = _with_answers(dict(own.series), {kind: one for kind, one in answers.items() if len(one)})
    return Past(window=own.window, series=series, reasons=() if series else own.reasons)


_ANSWERS = (DriftKind.PREDICTION, DriftKind.PERFORMANCE)


def _of_rows(
    rows: Rows, cut: _Cut, watch: AnswerWatch, schema: Schema, config: ModelConfig, span: str
) -> dict[DriftKind, SignalSeries]:
    """Measure features, outcome and links window by window."""
    inputs = watch.reference.inputs
    data = prepare_signals(inputs, kind=DriftKind.DATA, min_effect=config.drift.min_effect)
    frame = feature_frame(rows.frame, schema).assign(**{OUTCOME: outcomes(rows.frame, schema, config)})
    profiles = count_windows(frame, inputs.grid, window=cut.of_rows, many=len(cut.windows))
    readers: dict[DriftKind, Callable[..., Signals]] = {
        DriftKind.DATA: data.measure,
        DriftKind.OUTCOME: watch.outcome.measure,
        DriftKind.CONCEPT: watch.links.measure,
    }
    return {kind: _stack(cut, [read(one) for one in profiles], span) for kind, read in readers.items()}


def _of_answers(scored: Scored, cut: _Cut, watch: AnswerWatch, span: str) -> dict[DriftKind, SignalSeries]:
    """Measure score, loss and metric window by window."""
    if not cut.windows:
        return {}
    frame, grid = answer_frame(scored, config=watch.config), watch.reference.answers.grid
    profiles = count_windows(frame, grid, window=cut.of_rows, many=len(cut.windows))
    parts = [scored.take(cut.rows(place)) for place in range(len(cut.windows))]
    loss, standard = watch.reference.loss, watch.standard
    found = {
        DriftKind.PREDICTION: [watch.prediction.measure(one) for one in profiles],
        DriftKind.CONCEPT: [watch.loss_signal(_quick(one, watch.loss, loss)) for one in parts],
        DriftKind.PERFORMANCE: [
            watch.performance_signal(_quick(one, watch.metric, standard)) for one in parts
        ],
    }
    return {kind: _stack(cut, signals, span) for kind, signals in found.items()}


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


def _cut(positions: FloatArray, cutting: Cutting, *, least: int) -> _Cut:
    """Cut rows into full windows."""
    order = np.argsort(positions, kind="stable")
    seen = positions[order]
    if not len(seen):
        return _Cut(windows=(), order=order, lows=np.zeros(0, np.int64), highs=np.zeros(0, np.int64))
    found, _ = cutting.cut(seen, start=float(seen[0]), ready=cutting.full_to(seen))
    return _place(found[-MOST_WINDOWS:], order, seen, least=np.full(len(found[-MOST_WINDOWS:]), float(least)))


def _answers_cut(positions: FloatArray, cut: _Cut, cutting: Cutting, *, least: int) -> _Cut:
    """Cut answers by the windows of the rows they belong to, or by their own where they are other rows."""
    order = np.argsort(positions, kind="stable")
    seen = positions[order]
    inside = bool(cut.windows) and bool(len(seen)) and bool(seen[0] < cut.windows[-1].end)
    if not inside:
        return _cut(positions, cutting, least=least)
    return _place(cut.windows, order, seen, least=np.maximum(cut.sizes * _COVERED, float(least)))


def _place(windows: Sequence[Window], order: IntArray, seen: FloatArray, *, least: FloatArray) -> _Cut:
    lows = np.searchsorted(seen, [window.start for window in windows], side="left")
    highs = np.searchsorted(seen, [window.end for window in windows], side="left")
    full = highs - lows >= least
    kept = tuple(window for window, ok in zip(windows, full, strict=True) if ok)
    return _Cut(windows=kept, order=order, lows=lows[full], highs=highs[full])


def _stack(cut: _Cut, signals: list[Signals], span: str) -> SignalSeries:
    starts = np.array([window.start for window in cut.windows], dtype=np.float64)
    return SignalSeries.stack(signals, starts=starts, rows=cut.sizes, window=span)


def _no_clock() -> Reason:
    message = (
        "The rows have no clock, so that the reference has no windows of its own; limits come from sampling theory. "
        "Name data.time, or write data.clock: rows."
    )
    return Reason(code="no_clock", message=message)


def _too_short(span: str, n: int) -> Reason:
    message = (
        f"The reference's {n} rows hold no full window of {span}; limits come from sampling theory. "
        "Bring more rows, or shorten monitoring.window."
    )
    return Reason(code="no_windows", message=message, observed=0, limit=1, n=n)
