"""Decide whether a retraining starts, by what asks for it: the same function live and in replay."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from evergreen.tasks.core.alerts.alert import AlertLevel
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.quiet_hours import quiet_until
from evergreen.tasks.core.data.clock import parse_position
from evergreen.tasks.core.drift.types import DriftKind, Level
from evergreen.tasks.core.errors import counted
from evergreen.tasks.core.retraining.history import REFUSED, Attempt, RetrainHistory
from evergreen.tasks.core.retraining.triggers import due_triggers
from evergreen.tasks.core.retraining.types import (
    MANUAL,
    MONTH,
    MOST_BACK_OFF,
    Cause,
    Labels,
    Moment,
    RetrainDecision,
    RetrainingAction,
    RetrainingRequest,
    RetrainPolicy,
    length_text,
)
from evergreen.tasks.core.verdict import Reason

if TYPE_CHECKING:
    from evergreen.tasks.core.data.rows import Rows

_LOSS = "@loss"


def drift_causes(
    entries: Iterable[Mapping[str, Any]], *, version: int | None, policy: RetrainPolicy, clock: str
) -> tuple[Cause, ...]:
    """Return the alarms that ask for a retraining.

    Parameters
    ----------
    entries : iterable of dict
        The newest window of each phase, as the ledger keeps it
        (`evergreen.tasks.core.monitoring.window_result.WindowResult.to_entry`, with
        its ``alert``).
    version : int | None
        The champion of now: alarms of the one before went with it.
    policy : RetrainPolicy
        Which kinds ask, and from what size on.
    clock : {'timestamp', 'seconds', 'rows'}
        What the alarms' moments are on.

    Returns
    -------
    tuple of Cause
        Alarms of a kind that is a trigger, at least as large as its limit. One whose size is not known asks.
    """
    causes = [
        _cause(entry, alarm, policy, clock)
        for entry in of_version(entries, version)
        for alarm in (entry.get("alert") or {}).get("open", ())
        if alarm["kind"] in policy.triggers and alarm["level"] != AlertLevel.WARNING.value
    ]
    return tuple(cause for cause in causes if cause.size is None or cause.size >= (cause.limit or 0.0))


def of_version(entries: Iterable[Mapping[str, Any]], version: int | None) -> list[Mapping[str, Any]]:
    """Return the entries that are about a version."""
    return [entry for entry in entries if entry["version"] == version]


def could_judge(entries: Iterable[Mapping[str, Any]], *, version: int | None) -> bool:
    """Return whether any kind of the champion's drift could be judged in the newest windows; without one: False."""
    verdicts = (one for entry in of_version(entries, version) for one in entry["kinds"].values())
    return any(verdict["level"] != Level.INSUFFICIENT.value for verdict in verdicts)


def _cause(entry: Mapping[str, Any], alarm: Mapping[str, Any], policy: RetrainPolicy, clock: str) -> Cause:
    kind, name = str(alarm["kind"]), str(alarm["name"])
    size = alarm_size(entry, kind=kind, name=name)
    limited = kind != DriftKind.CONCEPT.value or name == _LOSS
    return Cause(
        trigger=kind,
        name=name,
        message=f"{name} ({kind}): {alarm['said']}, since {alarm['since']}",
        size=size,
        limit=policy.limits.get(kind, 0.0) if limited else None,
        since=alarm["since"],
        position=parse_position(alarm["since"], clock=clock),
    )


def alarm_size(entry: Mapping[str, Any], *, kind: str, name: str) -> float | None:
    """Return how large an alarm is in the newest window, in the unit of its limit.

    PSI of a feature or score; the largest shift of a share of the outcome; the relative rise of the loss; the relative
    loss of the metric; else the move in the signal's own unit. None where the window does not say.
    """
    if kind in (DriftKind.DATA.value, DriftKind.PREDICTION.value):
        psi = (entry.get("psi") or {}).get(name)
        return None if psi is None else float(psi)
    if kind == DriftKind.PERFORMANCE.value:
        drop = (entry.get("performance") or {}).get("drop")
        return None if drop is None else float(drop)
    moved = [one for one in entry["kinds"].get(kind, {}).get("moved", ()) if one["column"] == name]
    if kind == DriftKind.CONCEPT.value and name == _LOSS:
        levels = [one for one in moved if one["signal"] == "level" and one["expected"]]
        return max((float(one["effect"] / abs(one["expected"])) for one in levels), default=None)
    return max((abs(one["effect"]) for one in moved if one["effect"] is not None), default=None)


# Which rows have a label that is known now.


def known_labels(rows: Rows, config: ModelConfig, *, until: float | None = None) -> Labels:
    """Return the places of rows whose label is known.

    Parameters
    ----------
    rows : Rows
        With the columns that a split is planned from (`evergreen.tasks.core.data.columns.clock_columns`).
    until : float, optional
        As of this position: no row at or after it, no label known after it.

    Returns
    -------
    Labels
        Positions on the clock; without a clock the labelled rows are counted from 0 on.
    """
    if rows.positions is None:
        count = int(rows.frame[config.data.target].notna().sum())
        return Labels(positions=np.arange(count, dtype=np.float64))
    from evergreen.tasks.core.data.rows import draft_plan  # with pandas, which commands that read do without
    from evergreen.tasks.core.data.timeline import make_timeline

    line = make_timeline(rows.frame, rows.positions, draft_plan(config, until=until))
    return Labels(positions=np.sort(rows.positions[line.usable]))


# The decision.


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One thing that holds a retraining, and until when (None: time alone does not end it)."""

    reason: Reason
    until: datetime | None = None


def decide_retrain(
    now: Moment, history: RetrainHistory, request: RetrainingRequest, policy: RetrainPolicy
) -> RetrainDecision:
    """Decide whether a retraining starts.

    It starts when something asks (an alarm that is new or has grown, a date, new labels, a person) and nothing holds
    it. Disabled, paused or in progress hold whoever asks; cooldown, back-off, budget, quiet hours and the data of a
    version rolled back from yield to force. Quiet hours hold only what asks by itself.

    Parameters
    ----------
    now : Moment
        On the calendar, and how far the rows have come.
    history : RetrainHistory
        Folded from the ledger (`evergreen.tasks.core.retraining.history.fold_history`).
    request : RetrainingRequest
        What asks now.
    policy : RetrainPolicy
        The model's rules.

    Returns
    -------
    RetrainDecision
        ``start`` with every cause; ``hold`` with everything that holds it; ``insufficient`` when it is not known
        whether anything asks (``not_judged``), or no label came since the last retraining (``no_new_labels``).
    """
    due = due_triggers(now, history, request, policy)
    alarms, stale = _fresh_alarms(history, request, policy)
    causes = (*alarms, *(one.cause() for one in due if one.due))
    change_at = _change_at(causes, history)
    if absolute := list(_absolute(history, policy)):
        return _blocked(absolute, causes, change_at)
    holds = list(_holds(now, history, request, policy))
    if not causes:
        due_at = min((one.due_at for one in due if one.due_at is not None), default=None)
        if stale:
            return _nothing_new_asks(stale, holds, due_at)
        return _nothing_asks(request, holds, due_at, due=[one.message for one in due])
    if not request.manual and history.last is not None and not request.labels.after(history.last.labelled_to):
        return _no_new_labels(history.last, causes, change_at)
    if holds and request.forced is None:
        return _blocked(holds, causes, change_at)
    forced = [
        Reason(
            code="forced",
            message=f"Forced ({request.forced}) although: {hold.reason.message}",
            observed=hold.reason.code,
        )
        for hold in holds
    ]
    return RetrainDecision(
        outcome=RetrainingAction.START,
        reasons=(*(cause.to_reason() for cause in causes), *forced),
        causes=causes,
        next_allowed_at=now.at + policy.cooldown,
        change_at=change_at,
    )


def _absolute(history: RetrainHistory, policy: RetrainPolicy) -> Iterator[Hold]:
    """Yield what forbids a retraining even when a person forces it."""
    if policy.run_mode == "disabled":
        yield _hold("disabled", "retraining.run_mode is disabled.")
    if history.pause is not None:
        since, why = f"{history.pause.at:%Y-%m-%d %H:%M} UTC", history.pause.why
        yield _hold("paused", f"Paused since {since}: {why}. 'evergreen resume' ends the pause.")
    if history.open is not None:
        running = history.open
        message = f"Retraining {running.claim} is in progress since {running.at:%Y-%m-%d %H:%M} UTC."
        yield _hold("in_progress", message, until=cooldown_ends_at(history, policy))


def _hold(code: str, message: str, *, until: datetime | None = None, **facts: Any) -> Hold:
    return Hold(reason=Reason(code=code, message=message, **facts), until=until)


def _holds(
    now: Moment, history: RetrainHistory, request: RetrainingRequest, policy: RetrainPolicy
) -> Iterator[Hold]:
    """Yield what forbids a retraining unless a person forces it."""
    yield from _cooldown(now, history, policy)
    yield from _over_budget(now, history, policy)
    quiet = None if request.manual else quiet_until(policy.quiet_hours, now.at)
    if quiet is not None:
        message = f"Quiet hours until {quiet:%H:%M} UTC (retraining.quiet_hours)."
        yield _hold("quiet_hours", message, until=quiet)
    yield from _same_data_as_rolled_back(history, request, policy)


def _cooldown(now: Moment, history: RetrainHistory, policy: RetrainPolicy) -> Iterator[Hold]:
    """Yield cooldown and back-off: failed and refused attempts count like any other."""
    last, rested = history.last, cooldown_ends_at(history, policy)
    if last is None or rested is None or now.at >= rested:
        return
    code = "cooldown" if now.at < last.at + policy.cooldown else "back_off"
    cooldown, factor = f"the cooldown of {length_text(policy.cooldown)}", _back_off_factor(history, policy)
    if factor != 1:
        cooldown += (
            f", multiplied by {factor:g} because {counted(history.unhelpful, 'retraining')} in a row brought no new "
            "champion (retraining.back_off),"
        )
    message = f"The last retraining started at {last.at:%Y-%m-%d %H:%M:%S} UTC and {cooldown} is not over."
    yield _hold(code, message, until=rested, observed=last.at.isoformat(), limit=rested.isoformat())


def cooldown_ends_at(history: RetrainHistory, policy: RetrainPolicy) -> datetime | None:
    """Return when cooldown and back-off of the newest attempt are over; None before the first. An open one may help."""
    last = history.last
    return None if last is None else last.at + policy.cooldown * _back_off_factor(history, policy)


def _back_off_factor(history: RetrainHistory, policy: RetrainPolicy) -> float:
    """Return by what the cooldown is multiplied, >= 1."""
    unhelpful = 0 if history.open else history.unhelpful
    return min(policy.back_off**unhelpful, MOST_BACK_OFF)


def _over_budget(now: Moment, history: RetrainHistory, policy: RetrainPolicy) -> Iterator[Hold]:
    if policy.max_per_30d is None:
        return
    recent = [one.at for one in history.attempts if one.at > now.at - MONTH]
    if len(recent) < policy.max_per_30d:
        return
    until = sorted(recent)[-policy.max_per_30d] + MONTH
    message = f"{len(recent)} retrainings within 30 days; retraining.max_per_30d allows {policy.max_per_30d}."
    yield _hold("budget", message, until=until, observed=len(recent), limit=policy.max_per_30d)


def _same_data_as_rolled_back(
    history: RetrainHistory, request: RetrainingRequest, policy: RetrainPolicy
) -> Iterator[Hold]:
    """Yield a hold while the rows are those of a version that was rolled back from."""
    undone = [one for one in history.attempts if one.version in history.rolled_back]
    if not undone:
        return
    rows = request.labels.after(undone[-1].labelled_to)
    if rows >= policy.fresh_rows:
        return
    message = (
        f"Version {undone[-1].version} was rolled back from, and only {rows} rows were labelled since it was trained; "
        f"{policy.fresh_rows} are needed before its data may challenge the restored champion again."
    )
    yield _hold("rolled_back_data", message, observed=rows, limit=policy.fresh_rows, n=rows)


def _fresh_alarms(
    history: RetrainHistory, request: RetrainingRequest, policy: RetrainPolicy
) -> tuple[tuple[Cause, ...], tuple[Cause, ...]]:
    """Part what asks anew from alarms that a refused challenger has answered already and that have not grown."""
    last = history.last
    answered = {} if last is None or last.state not in REFUSED else {one.key: one for one in last.alarms}
    alarms = [cause for cause in request.causes if cause.trigger != MANUAL]
    stale = tuple(one for one in alarms if _is_answered(one, answered.get(one.key), policy))
    return tuple(cause for cause in request.causes if cause not in stale), stale


def _is_answered(cause: Cause, before: Cause | None, policy: RetrainPolicy) -> bool:
    if before is None or before.since != cause.since:
        return False
    return cause.size is None or before.size is None or cause.size < policy.hysteresis * before.size


def _change_at(causes: tuple[Cause, ...], history: RetrainHistory) -> float | None:
    """Return the newest change that is known: of an alarm that asks, else that of the last attempt."""
    before = history.last.change_at if history.last else None
    places = [*(cause.position for cause in causes), before]
    return max((place for place in places if place is not None), default=None)


def _blocked(holds: list[Hold], causes: tuple[Cause, ...], change_at: float | None) -> RetrainDecision:
    """Return a refusal with everything that holds it."""
    return RetrainDecision(
        outcome=RetrainingAction.HOLD,
        reasons=tuple(hold.reason for hold in holds),
        causes=causes,
        next_allowed_at=_last_end([hold.until for hold in holds]),
        change_at=change_at,
    )


def _last_end(ends: list[datetime | None]) -> datetime | None:
    """Return when the last of what a retraining waits for has come; None where time alone does not bring all of it."""
    known = [end for end in ends if end is not None]
    return max(known) if len(known) == len(ends) else None


def _nothing_new_asks(
    stale: tuple[Cause, ...], holds: list[Hold], due_at: datetime | None
) -> RetrainDecision:
    """Return why nothing starts where only alarms ask that a refused challenger has answered already."""
    names = ", ".join(cause.name or cause.trigger for cause in stale)
    message = (
        f"Alarms that were open when the last challenger was refused ({names}) have not grown since "
        "(retraining.hysteresis)."
    )
    hysteresis = Reason(code="hysteresis", message=message, observed=len(stale))
    reasons = (*(hold.reason for hold in holds), hysteresis)
    next_at = _last_end([due_at, *(hold.until for hold in holds)])
    return RetrainDecision(outcome=RetrainingAction.HOLD, reasons=reasons, next_allowed_at=next_at)


def _nothing_asks(
    request: RetrainingRequest, holds: list[Hold], due_at: datetime | None, *, due: list[str]
) -> RetrainDecision:
    """Return why nothing starts where nothing asks: it is not known, or nothing is due; what holds past that date."""
    if request.judged:
        outcome, code = RetrainingAction.HOLD, "not_due"
        message = " ".join(["Nothing asks for a retraining.", *due])
    else:
        outcome, code = RetrainingAction.INSUFFICIENT, "not_judged"
        message = "The newest windows could not be judged, so that it is not known whether anything drifts."
    past = [] if due_at is None else [one for one in holds if one.until is None or one.until > due_at]
    reasons = (Reason(code=code, message=message), *(hold.reason for hold in past))
    next_at = _last_end([due_at, *(hold.until for hold in holds)])
    return RetrainDecision(outcome=outcome, reasons=reasons, next_allowed_at=next_at)


def _no_new_labels(last: Attempt, causes: tuple[Cause, ...], change_at: float | None) -> RetrainDecision:
    message = (
        f"No row was labelled since retraining {last.claim}; another one would learn the same. Wait for labels, or "
        "start it by hand."
    )
    reasons = (Reason(code="no_new_labels", message=message, observed=0, limit=1, n=0),)
    outcome = RetrainingAction.INSUFFICIENT
    return RetrainDecision(outcome=outcome, reasons=reasons, causes=causes, change_at=change_at)
