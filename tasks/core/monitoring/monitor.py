"""The monitor of a champion: the check of one window with its rows and labels, and where its stream of checks is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.alerts.alert import Alert
from evergreen.tasks.core.arrays import BoolArray, FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.times import refuse_mixed_zones, to_positions
from evergreen.tasks.core.drift.answers import AnswerMonitor, AnswerSignals, answer_signals
from evergreen.tasks.core.drift.columns import ColumnMeasure, measure_columns
from evergreen.tasks.core.drift.detect import DetectorState, close_alarms
from evergreen.tasks.core.drift.fixed_thresholds import judge_fixed_thresholds
from evergreen.tasks.core.drift.judge import Judgement, judge_window
from evergreen.tasks.core.drift.performance import Performance, relative_drop
from evergreen.tasks.core.drift.policy import shown_measures
from evergreen.tasks.core.drift.types import DriftKind, KindVerdict, Level, Phase, Signals, join_signals
from evergreen.tasks.core.errors import DataError, counted
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.monitoring.setup import (
    VERSION,
    ChampionMonitor,
    served_answers,
    show_missing,
    with_logged_answers,
)
from evergreen.tasks.core.monitoring.window_result import WindowResult
from evergreen.tasks.core.monitoring.windows import (
    DueWindow,
    Windowing,
    WindowSchedule,
    due_windows,
    trained_on_reason,
)
from evergreen.tasks.core.profiles.profile import Profile, measure_profile
from evergreen.tasks.core.profiles.reference import OUTCOME
from evergreen.tasks.core.seeds import seed_for
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
    rows: Rows, *, target: str, known_at: FloatArray | None, known_by: float
) -> tuple[Rows, int]:
    """Return the rows with those labels missing that became known after ``known_by``, and how many these are.

    Parameters
    ----------
    rows : Rows
        Left as they are.
    target : str
        Column of the label.
    known_at : array, shape (n,), or None
        When each label became known; NaN or None: in time.
    known_by : float
        Position as of which labels count.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = Rows(pd.DataFrame({"y": [1, 0]}), np.array([0.0, 1.0]))
    >>> shown, late = hide_late_labels(rows, target="y", known_at=np.array([5.0, 7.0]), known_by=6.0)
    >>> shown.frame["y"].tolist(), late
    ([1.0, nan], 1)
    """
    if known_at is None:
        return rows, 0
    late = (known_at > known_by) & rows.frame[target].notna().to_numpy()
    if not late.any():
        return rows, 0
    labels = rows.frame[target].where(~late)
    return Rows(rows.frame.assign(**{target: labels}), rows.positions), int(np.count_nonzero(late))


# The check of one window: its rows and the champion's answers, measured and judged.


_ANSWERS = (DriftKind.PREDICTION, DriftKind.CONCEPT, DriftKind.PERFORMANCE)
"""Kinds that say nothing of rows the champion has learned from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class WindowCheck:
    """A check and what it leaves for the next one."""

    result: WindowResult
    """What is said."""
    state: DetectorState
    """State of the detectors."""
    profiles: dict[str, Profile] = field(default_factory=dict)
    """``inputs`` (and ``answers``) of the window."""


def check_window(
    monitor: ChampionMonitor[Any],
    due: DueWindow,
    rows: Rows,
    scored: Scored,
    *,
    state: DetectorState,
    rng: np.random.Generator,
    answered_rows: BoolArray | None = None,
) -> WindowCheck:
    """Check one window in one phase.

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
    state : DetectorState
        Of the window before in this phase; empty for the champion's first one.
    rng : numpy.random.Generator
        For the estimate without labels.

    Raises
    ------
    DataError
        When a feature is missing, or a numeric one holds text.
    """
    features = feature_frame(rows.frame, monitor.model.schema)
    answers_to = features if answered_rows is None else features[answered_rows]
    answered = answer_signals(monitor.answers, scored, phase=due.phase, features=answers_to, rng=rng)
    answered = _without_training_rows(monitor, due, answered)
    profiles, signals, count = {"outcomes": answered.profile}, answered.signals, answered.labelled
    measured, notes = tuple[ColumnMeasure, ...](), tuple[Reason, ...]()
    if due.phase is Phase.INPUTS:
        profiles, count = {"answers": answered.profile}, len(rows)
        profiles["inputs"] = measure_profile(
            features, monitor.reference.inputs.grid, columns=monitor.features
        )
        signals = join_signals([monitor.data.measure(profiles["inputs"]), signals])
        measured = _measures(monitor, profiles)
        notes = answered.reasons.get(DriftKind.PERFORMANCE, ())  # why nothing is estimated without labels
    judgement = _judge(monitor, due, signals, state, measured, rows=count)
    kinds = (  # the answers know better than the judge why a kind is INSUFFICIENT
        replace(one, reasons=answered.reasons.get(one.kind) or one.reasons)
        if one.level is Level.INSUFFICIENT
        else one
        for one in judgement.kinds
    )
    result = WindowResult(
        window=due.window,
        phase=due.phase,
        version=monitor.version,
        rows=count,
        kinds=tuple(kinds),
        changes=tuple(change.to_dict() for change in judgement.alarms),
        columns=tuple(measure.to_dict() for measure in measured),
        performance=performance_with_reference(answered.performance, monitor.answers),
        notes=notes,
    )
    return WindowCheck(result=result, state=judgement.state, profiles=profiles)


def refuse_window(
    monitor: ChampionMonitor[Any], due: DueWindow, reason: Reason, *, rows: int, state: DetectorState
) -> WindowCheck:
    """Return the check of a window that cannot be read at all: every kind INSUFFICIENT, for a named reason."""
    kinds = [kind for kind in due.phase.kinds if kind in monitor.policy.kinds]
    verdicts = tuple(KindVerdict(kind=kind, level=Level.INSUFFICIENT, reasons=(reason,)) for kind in kinds)
    result = WindowResult(
        window=due.window, phase=due.phase, version=monitor.version, rows=rows, kinds=verdicts
    )
    return WindowCheck(result=result, state=state)


def close_champion_period(check: WindowCheck, state: DetectorState) -> WindowCheck:
    """Return the first check at a new champion with the end of the alarms that were open under the one before."""
    closed = tuple(change.to_dict() for change in close_alarms(state))
    return replace(check, result=replace(check.result, changes=(*closed, *check.result.changes)))


def with_late_labels(check: WindowCheck, count: int) -> WindowCheck:
    """Return the check with a note of the labels that came too late for it."""
    if not count:
        return check
    message = (
        f"{counted(count, 'label')} became known later than data.label_delay after the window; they "
        "count as unknown, now and ever after. Where that is usual, lengthen data.label_delay."
    )
    note = Reason(code="late_labels", message=message, observed=float(count), n=count)
    return replace(check, result=replace(check.result, notes=(*check.result.notes, note)))


def performance_with_reference(
    performance: Performance | None, answers: AnswerMonitor
) -> dict[str, Any] | None:
    """Return performance as it is reported: with the reference's value and the relative drop."""
    if performance is None or not performance.defined:
        return None
    standard = answers.standard
    drop = (
        relative_drop(performance.value, standard.value, metric=answers.metric) if standard.defined else None
    )
    return {**performance.to_dict(), "reference": standard.value if standard.defined else None, "drop": drop}


def _measures(monitor: ChampionMonitor[Any], profiles: dict[str, Profile]) -> tuple[ColumnMeasure, ...]:
    """Measure features and answers against the reference; not the outcome: its time is the phase ``outcomes``."""
    drift, reference = monitor.config.drift, monitor.reference
    levels: dict[str, Any] = {
        "significance": drift.ks_significance,
        "psi_warning": drift.psi_warning,
        "measures": shown_measures(monitor.config),
    }
    pairs = ((reference.inputs, profiles["inputs"]), (reference.answers, profiles["answers"]))
    measured = [
        one for reference_profile, now in pairs for one in measure_columns(reference_profile, now, **levels)
    ]
    return tuple(one for one in measured if one.column != OUTCOME)


def _judge(
    monitor: ChampionMonitor[Any],
    due: DueWindow,
    signals: Signals,
    state: DetectorState,
    measured: tuple[ColumnMeasure, ...],
    *,
    rows: int,
) -> Judgement:
    null = monitor.nulls.get(due.phase)
    if null is None:  # no kind of this phase is monitored (drift.kinds)
        return Judgement(kinds=(), state=state)
    where: dict[str, Any] = {"policy": monitor.policy, "position": due.window.start, "rows": rows}
    if monitor.policy.name == "fixed_thresholds":
        return judge_fixed_thresholds(signals, null, state, measures=measured, **where)
    return judge_window(signals, null, state, **where)


def _without_training_rows(
    monitor: ChampionMonitor[Any], due: DueWindow, answered: AnswerSignals
) -> AnswerSignals:
    """Blank the answers' signals of a window the champion has learned from."""
    if not due.learned or monitor.trained_to is None:
        return answered
    reason = trained_on_reason(
        due, trained_to=monitor.trained_to, version=monitor.version, clock=monitor.clock
    )
    signals = answered.signals
    blank = np.array([key.kind in _ANSWERS for key in signals.keys])
    values = np.where(blank, np.nan, signals.values)
    reasons = {**answered.reasons, **{kind: (reason,) for kind in due.phase.kinds if kind in _ANSWERS}}
    return replace(answered, signals=replace(signals, values=values), performance=None, reasons=reasons)


# The head of a stream of checks: where it stands, and from where on rows matter to the next check.


@dataclass(frozen=True, kw_only=True)
class StreamPosition:
    """Where a stream of checks stands."""

    seq: int = 0
    """Number of its last entry; 0 for an empty stream."""
    end: float | None = None
    """End of the last window; None before the first."""
    version: int | None = None
    """The champion that was monitored."""
    state: DetectorState
    """State of the detectors; empty where the log has been purged of it."""
    alert: Alert | None = None
    """The alert of the last check."""


def frontier(head: StreamPosition, *, learned: float | None, judged: Sequence[Window] | None = None) -> float:
    """Return the position from which on rows matter to the next check.

    Parameters
    ----------
    learned : float | None
        Position from which on rows are new to the champion.
    judged : sequence of Window, optional
        For ``outcomes``: windows whose inputs were judged, oldest first.
    """
    place = head.end if head.end is not None else -math.inf if learned is None else learned
    return min(place, judged[0].start) if judged else place


def after_check(head: StreamPosition, check: WindowCheck, alert: Alert, *, seq: int) -> StreamPosition:
    """Return where the stream stands once a check is kept as its entry number ``seq``."""
    result = check.result
    return replace(
        head, seq=seq, end=result.window.end, version=result.version, state=check.state, alert=alert
    )


def find_due(
    positions: FloatArray,
    monitor: ChampionMonitor[Any],
    phase: Phase,
    head: StreamPosition,
    *,
    judged: Sequence[Window] | None = None,
    now: float = math.inf,
    until: float = math.inf,
) -> WindowSchedule:
    """Return the windows that a phase has to check next; see ``monitoring.windows.due_windows``."""
    return due_windows(
        positions,
        cutting=Windowing.of(monitor.config),
        phase=phase,
        last_end=head.end,
        trained_to=monitor.trained_to,
        judged=judged,
        now=now,
        until=until,
        most=monitor.config.monitoring.max_windows,
    )


def monitor_window(
    monitor: ChampionMonitor[Any], due: DueWindow, rows: Rows, *, late: int, head: StreamPosition
) -> WindowCheck:
    """Check one window; one that cannot be read is INSUFFICIENT by name, not a crash.

    Parameters
    ----------
    rows : Rows
        Its rows; in the phase ``outcomes`` with the labels known by then.
    late : int
        Labels that came too late for it.
    head : StreamPosition
        Where the stream stands: a new champion begins with an empty state.
    """
    changed = head.version is not None and head.version != monitor.version
    state = DetectorState.empty() if changed else head.state
    rng = np.random.default_rng(seed_for(monitor.config.model, str(due.window.start), due.phase.value))
    try:
        _require_plain_times(monitor.config, rows)
        rows = readable_rows(monitor, rows)
        scored, own = _answers_to(monitor, rows)
        check = check_window(monitor, due, rows, scored, state=state, rng=rng, answered_rows=own)
    except DataError as error:
        reason = Reason(code="unreadable", message=str(error), n=len(rows))
        check = refuse_window(monitor, due, reason, rows=len(rows), state=state)
    check = with_late_labels(check, late)
    return close_champion_period(check, head.state) if changed else check


def readable_rows(monitor: ChampionMonitor[Any], rows: Rows) -> Rows:
    """Return a window's rows with missing values for what the log conceals."""
    return show_missing(rows, monitor.concealed, monitor.config)


def _require_plain_times(config: ModelConfig, rows: Rows) -> None:
    """Check that the rows' own times say which window they belong to."""
    data = config.data
    if data.clock == "timestamp" and data.time in rows.frame:
        refuse_mixed_zones(rows.frame[data.time])


def _answers_to(monitor: ChampionMonitor[Any], rows: Rows) -> tuple[Scored, BoolArray | None]:
    """Return the champion's answers, and to which rows: those it gave where they were logged, else what it would say.

    Where the log conceals features it cannot be asked anew: rows that others answered have no answer of its own.
    """
    if monitor.concealed and VERSION in rows.frame:
        return served_answers(monitor.model, rows, version=monitor.version, config=monitor.config)
    scored: Scored = monitor.model.score(rows, config=monitor.config)
    if monitor.config.monitoring.source == "log":
        return with_logged_answers(scored, rows, version=monitor.version), None
    return scored, None
