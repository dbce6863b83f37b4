"""Labels as they were known when a window's outcomes are judged: what came later is unknown, and counted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import BoolArray, FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.times import to_positions
from evergreen.tasks.core.drift.answers import AnswerMonitor, AnswerSignals, answer_signals
from evergreen.tasks.core.drift.columns import ColumnMeasure, measure_columns
from evergreen.tasks.core.drift.detect import DetectorState, close_alarms
from evergreen.tasks.core.drift.fixed_thresholds import judge_fixed_thresholds
from evergreen.tasks.core.drift.judge import Judgement, judge_window
from evergreen.tasks.core.drift.performance import Performance, relative_drop
from evergreen.tasks.core.drift.policy import shown_measures
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, Phase, Signals, join_signals
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.setup import MonitorSetup
from evergreen.tasks.core.monitoring.window_result import WindowResult
from evergreen.tasks.core.monitoring.windows import DueWindow, trained_on_reason
from evergreen.tasks.core.profiles.profile import Profile, measure_profile
from evergreen.tasks.core.profiles.reference import OUTCOME
from evergreen.tasks.core.training.features import feature_frame
from evergreen.tasks.core.verdict import Reason


def label_times(rows: Rows, *, config: ModelConfig) -> FloatArray | None:
    """Return the position at which each label became known, shape (n,); None without ``data.label_time``.

    NaN where the column says nothing: such a label counts as known after ``data.label_delay``, that is in time.

    Raises
    ------
    DataError
        When a label time is not on the clock.
    """
    data = config.data
    if data.label_time is None:
        return None
    return to_positions(
        rows.frame[data.label_time], clock=data.clock, time_format=data.time_format, allow_null=True
    )


def hide_late_labels(
    rows: Rows, *, target: str, known: FloatArray | None, known_by: float
) -> tuple[Rows, int]:
    """Return the rows with those labels missing that became known after ``known_by``, and how many these are.

    Parameters
    ----------
    rows : Rows
        Left as they are.
    target : str
        Column of the label.
    known : array, shape (n,), or None
        When each label became known; NaN or None: in time.
    known_by : float
        Position as of which labels count.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = Rows(pd.DataFrame({"y": [1, 0]}), np.array([0.0, 1.0]))
    >>> shown, late = hide_late_labels(rows, target="y", known=np.array([5.0, 7.0]), known_by=6.0)
    >>> shown.frame["y"].tolist(), late
    ([1.0, nan], 1)
    """
    if known is None:
        return rows, 0
    late = (known > known_by) & rows.frame[target].notna().to_numpy()
    if not late.any():
        return rows, 0
    labels = rows.frame[target].where(~late)
    return Rows(rows.frame.assign(**{target: labels}), rows.positions), int(np.count_nonzero(late))


# One look at one window: its rows and the champion's answers, measured and judged.


_ANSWERS = (DriftKind.PREDICTION, DriftKind.CONCEPT, DriftKind.PERFORMANCE)
"""Kinds that say nothing of rows the champion has learned from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowCheck:
    """A look and what it leaves for the next one.

    Attributes
    ----------
    looked : Looked
        What is said.
    memory : Memory
        What the judge remembers.
    profiles : dict of str to Profile
        ``inputs`` (and ``answers``) of the window.
    """

    looked: WindowResult
    memory: DetectorState
    profiles: dict[str, Profile] = field(default_factory=dict)


def check_window(
    watch: MonitorSetup,
    due: DueWindow,
    rows: Rows,
    scored: Scored,
    *,
    memory: DetectorState,
    rng: np.random.Generator,
    answered_rows: BoolArray | None = None,
) -> WindowCheck:
    """Look at one window in one phase.

    Parameters
    ----------
    due : DueWindow
        The window and the phase.
    rows : Rows
        Its rows; in the phase ``outcomes`` with the labels known by then.
    scored : Scored
        The champion's answers on them.
    answered_rows : array of bool, shape (n,), optional
        Which of the rows they are answers to; default: all.
    memory : Memory
        Of the window before in this phase; empty for the champion's first one.
    rng : numpy.random.Generator
        For the estimate without labels.

    Raises
    ------
    DataError
        When a feature is missing, or a numeric one holds text.
    """
    features = feature_frame(rows.frame, watch.schema)
    answers_to = features if answered_rows is None else features[answered_rows]
    answered = answer_signals(watch.answers, scored, phase=due.phase, features=answers_to, rng=rng)
    answered = _without_training_rows(watch, due, answered)
    profiles, signals, count = {"outcomes": answered.profile}, answered.signals, answered.labelled
    measured: tuple[ColumnMeasure, ...] = ()
    judged, notes = measured, tuple[Reason, ...]()
    if due.phase is Phase.INPUTS:
        profiles, count = {"answers": answered.profile}, len(rows)
        profiles["inputs"] = measure_profile(features, watch.reference.inputs.grid, columns=watch.features)
        signals = join_signals([watch.data.measure(profiles["inputs"]), signals])
        measured = _measures(watch, profiles)
        shown = shown_measures(watch.config)
        judged = (*measured, *measure_columns(watch.reference.answers, answered.profile, measures=shown))
        notes = answered.reasons.get(
            DriftKind.PERFORMANCE, ()
        )  # why nothing is estimated while labels are late
    judgement = _judge(watch, due, signals, memory, judged, rows=count)
    kinds = (  # the answers know better than the judge why a kind is INSUFFICIENT
        replace(one, reasons=answered.reasons.get(one.kind) or one.reasons)
        if one.level is Level.INSUFFICIENT
        else one
        for one in judgement.kinds
    )
    looked = WindowResult(
        window=due.window,
        phase=due.phase,
        version=watch.version,
        rows=count,
        kinds=tuple(kinds),
        changes=tuple(change.to_dict() for change in judgement.alarms),
        columns=tuple(measure.to_dict() for measure in measured),
        performance=performance_with_reference(answered.performance, watch.answers),
        notes=notes,
    )
    return WindowCheck(looked=looked, memory=judgement.memory, profiles=profiles)


def refuse_window(
    watch: MonitorSetup, due: DueWindow, reason: Reason, *, rows: int, memory: DetectorState
) -> WindowCheck:
    """Return the look at a window that cannot be read at all: every kind INSUFFICIENT, for a named reason."""
    kinds = [kind for kind in due.phase.kinds if kind in watch.policy.kinds]
    verdicts = tuple(KindVerdict(kind=kind, level=Level.INSUFFICIENT, reasons=(reason,)) for kind in kinds)
    looked = WindowResult(
        window=due.window, phase=due.phase, version=watch.version, rows=rows, kinds=verdicts
    )
    return WindowCheck(looked=looked, memory=memory)


def close_champion_period(seen: WindowCheck, memory: DetectorState) -> WindowCheck:
    """Return the first look at a new champion with the end of the alarms that were open under the one before."""
    closed = tuple(change.to_dict() for change in close_alarms(memory))
    return replace(seen, looked=replace(seen.looked, changes=(*closed, *seen.looked.changes)))


def with_late_labels(seen: WindowCheck, count: int) -> WindowCheck:
    """Return the look with a note of the labels that came too late for it."""
    if not count:
        return seen
    message = (
        f"{count} label(s) became known later than data.label_delay after the window; they count as unknown, now and "
        "ever after. Where that is usual, lengthen data.label_delay."
    )
    note = Reason(code="late_labels", message=message, observed=float(count), n=count)
    return replace(seen, looked=replace(seen.looked, notes=(*seen.looked.notes, note)))


def performance_with_reference(found: Performance | None, answers: AnswerMonitor) -> dict[str, Any] | None:
    """Return performance as it is told: with the reference's value and the relative drop."""
    if found is None or not found.defined:
        return None
    standard = answers.standard
    drop = relative_drop(found.value, standard.value, metric=answers.metric) if standard.defined else None
    return {**found.to_dict(), "reference": standard.value if standard.defined else None, "drop": drop}


def _measures(watch: MonitorSetup, profiles: dict[str, Profile]) -> tuple[ColumnMeasure, ...]:
    """Measure features and answers against the reference; the outcome is not looked at yet."""
    drift, reference = watch.config.drift, watch.reference
    levels: dict[str, Any] = {
        "significance": drift.ks_significance,
        "psi_warning": drift.psi_warning,
        "measures": shown_measures(watch.config),
    }
    pairs = ((reference.inputs, profiles["inputs"]), (reference.answers, profiles["answers"]))
    found = [one for known, now in pairs for one in measure_columns(known, now, **levels)]
    return tuple(one for one in found if one.column != OUTCOME)


def _judge(
    watch: MonitorSetup,
    due: DueWindow,
    signals: Signals,
    memory: DetectorState,
    measured: tuple[ColumnMeasure, ...],
    *,
    rows: int,
) -> Judgement:
    null = watch.nulls.get(due.phase)
    if null is None:  # no kind of this phase is looked at (drift.kinds)
        return Judgement(kinds=(), memory=memory)
    where: dict[str, Any] = {"policy": watch.policy, "position": due.window.start, "rows": rows}
    if watch.policy.name == "fixed_thresholds":
        return judge_fixed_thresholds(signals, null, memory, measures=measured, **where)
    return judge_window(signals, null, memory, **where)


def _without_training_rows(watch: MonitorSetup, due: DueWindow, answered: AnswerSignals) -> AnswerSignals:
    """Blank the answers' signals of a window the champion has learned from."""
    if not due.learned or watch.trained_to is None:
        return answered
    reason = trained_on_reason(due, trained_to=watch.trained_to, version=watch.version, clock=watch.clock)
    signals = answered.signals
    blank = np.array([key.kind in _ANSWERS for key in signals.keys])
    values = np.where(blank, np.nan, signals.values)
    reasons = {**answered.reasons, **{kind: (reason,) for kind in due.phase.kinds if kind in _ANSWERS}}
    return replace(answered, signals=replace(signals, values=values), performance=None, reasons=reasons)
