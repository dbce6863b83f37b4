"""One look at one window: its rows and the champion's answers, measured and judged."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tasks.core.data.rows import Rows
from tasks.core.drift.answers import Answered, AnswerWatch, answer_signals
from tasks.core.drift.measures import ColumnMeasure, measure_columns
from tasks.core.drift.performance import Performance, relative_drop
from tasks.core.drift.signals import Signals, join_signals
from tasks.core.drift.words import DriftKind, KindVerdict, Level, Phase
from tasks.core.judging.alarms import close_alarms
from tasks.core.judging.judge import Judgement, judge_window
from tasks.core.judging.literal import judge_literally
from tasks.core.judging.memory import Memory
from tasks.core.learning.features import feature_frame
from tasks.core.metrics.scored import BoolArray, Scored
from tasks.core.profiles.profile import Profile, measure_profile
from tasks.core.profiles.reference import OUTCOME
from tasks.core.verdict import Reason
from tasks.core.watching.looked import Looked
from tasks.core.watching.watch import Watch
from tasks.core.watching.windows import DueWindow, learned_reason

_ANSWERS = (DriftKind.PREDICTION, DriftKind.CONCEPT, DriftKind.PERFORMANCE)
"""Kinds that say nothing of rows the champion has learned from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
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

    looked: Looked
    memory: Memory
    profiles: dict[str, Profile] = field(default_factory=dict)


def look_at(
    watch: Watch,
    due: DueWindow,
    rows: Rows,
    scored: Scored,
    *,
    memory: Memory,
    rng: np.random.Generator,
    answered_rows: BoolArray | None = None,
) -> Seen:
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
    answered = _without_learned(watch, due, answered)
    profiles = {"answers": answered.profile} if due.phase is Phase.INPUTS else {"outcomes": answered.profile}
    signals = answered.signals
    measured: tuple[ColumnMeasure, ...] = ()
    if due.phase is Phase.INPUTS:
        profiles["inputs"] = measure_profile(features, watch.reference.inputs.grid, columns=watch.features)
        signals = join_signals([watch.data.measure(profiles["inputs"]), signals])
        measured = _measures(watch, profiles)
    count = len(rows) if due.phase is Phase.INPUTS else answered.labelled
    judged = (*measured, *measure_columns(watch.reference.answers, answered.profile)) if measured else ()
    judgement = _judge(watch, due, signals, memory, judged, rows=count)
    looked = Looked(
        window=due.window,
        phase=due.phase,
        version=watch.version,
        rows=count,
        kinds=tuple(_with_reasons(verdict, answered) for verdict in judgement.kinds),
        changes=tuple(change.to_dict() for change in judgement.alarms),
        columns=tuple(measure.to_dict() for measure in measured),
        performance=told_performance(answered.performance, watch.answers),
        notes=_estimate_notes(due, answered),
    )
    return Seen(looked=looked, memory=judgement.memory, profiles=profiles)


def refuse_window(watch: Watch, due: DueWindow, reason: Reason, *, rows: int, memory: Memory) -> Seen:
    """Return the look at a window that cannot be read at all: every kind INSUFFICIENT, for a named reason."""
    kinds = [kind for kind in due.phase.kinds if kind in watch.policy.kinds]
    verdicts = tuple(KindVerdict(kind=kind, level=Level.INSUFFICIENT, reasons=(reason,)) for kind in kinds)
    looked = Looked(window=due.window, phase=due.phase, version=watch.version, rows=rows, kinds=verdicts)
    return Seen(looked=looked, memory=memory)


def close_reign(seen: Seen, memory: Memory) -> Seen:
    """Return the first look at a new champion with the end of the alarms that were open under the one before."""
    closed = tuple(change.to_dict() for change in close_alarms(memory))
    return replace(seen, looked=replace(seen.looked, changes=(*closed, *seen.looked.changes)))


def with_late_labels(seen: Seen, count: int) -> Seen:
    """Return the look with a note of the labels that came too late for it."""
    if not count:
        return seen
    message = (
        f"{count} label(s) became known later than data.label_delay after the window; they count as unknown, now and "
        "ever after. Where that is usual, lengthen data.label_delay."
    )
    note = Reason(code="late_labels", message=message, observed=float(count), n=count)
    return replace(seen, looked=replace(seen.looked, notes=(*seen.looked.notes, note)))


def told_performance(found: Performance | None, answers: AnswerWatch) -> dict[str, Any] | None:
    """Return performance as it is told: with the reference's value and the relative drop."""
    if found is None or not found.defined:
        return None
    standard = answers.standard
    drop = relative_drop(found.value, standard.value, metric=answers.metric) if standard.defined else None
    return {**found.to_dict(), "reference": standard.value if standard.defined else None, "drop": drop}


def _measures(watch: Watch, profiles: dict[str, Profile]) -> tuple[ColumnMeasure, ...]:
    """Measure features and answers against the reference; the outcome is not looked at yet."""
    drift, reference = watch.config.drift, watch.reference
    levels: dict[str, Any] = {"significance": drift.ks_significance, "psi_warning": drift.psi_warning}
    pairs = ((reference.inputs, profiles["inputs"]), (reference.answers, profiles["answers"]))
    found = [one for known, now in pairs for one in measure_columns(known, now, **levels)]
    return tuple(one for one in found if one.column != OUTCOME)


def _judge(
    watch: Watch,
    due: DueWindow,
    signals: Signals,
    memory: Memory,
    measured: tuple[ColumnMeasure, ...],
    *,
    rows: int,
) -> Judgement:
    null = watch.nulls.get(due.phase)
    if null is None:  # no kind of this phase is looked at (drift.kinds)
        return Judgement(kinds=(), memory=memory)
    where: dict[str, Any] = {"policy": watch.policy, "position": due.window.start, "rows": rows}
    if watch.policy.name == "literal":
        return judge_literally(signals, null, memory, measures=measured, **where)
    return judge_window(signals, null, memory, **where)


def _without_learned(watch: Watch, due: DueWindow, answered: Answered) -> Answered:
    """Blank the answers' signals of a window the champion has learned from."""
    if not due.learned or watch.trained_to is None:
        return answered
    reason = learned_reason(due, trained_to=watch.trained_to, version=watch.version, clock=watch.clock)
    signals = answered.signals
    blank = np.array([key.kind in _ANSWERS for key in signals.keys])
    values = np.where(blank, np.nan, signals.values)
    reasons = {**answered.reasons, **{kind: (reason,) for kind in due.phase.kinds if kind in _ANSWERS}}
    return replace(answered, signals=replace(signals, values=values), performance=None, reasons=reasons)


def _with_reasons(verdict: KindVerdict, answered: Answered) -> KindVerdict:
    """Say why a kind is INSUFFICIENT, where the answers know it better than the judge."""
    known = answered.reasons.get(verdict.kind, ())
    return replace(verdict, reasons=known) if known and verdict.level is Level.INSUFFICIENT else verdict


def _estimate_notes(due: DueWindow, answered: Answered) -> tuple[Reason, ...]:
    """Say why nothing is estimated while labels are late."""
    return answered.reasons.get(DriftKind.PERFORMANCE, ()) if due.phase is Phase.INPUTS else ()
