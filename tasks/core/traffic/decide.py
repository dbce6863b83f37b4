"""Decide on traffic: hold the step, go on, done, or send everything back to the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from evergreen.tasks.core.config.serving import GuardrailLimits, Ramp
from evergreen.tasks.core.traffic.assign import Assigner
from evergreen.tasks.core.traffic.counts import ArmFigures, RoundCounts
from evergreen.tasks.core.traffic.guardrails import GuardrailResult, judge_arm, round_level, round_number
from evergreen.tasks.core.traffic.plan import TrafficPlan
from evergreen.tasks.core.traffic.state import DONE, STEPPED, STOPPED, TrafficState, without_variants
from evergreen.tasks.core.traffic.variant import Variant
from evergreen.tasks.core.verdict import Reason

MAX_ROUND_LENGTH = 4
"""A doubtful round goes on up to so many times its least rows; then the next begins, at the same step."""


class TrafficAction(StrEnum):
    """What is decided."""

    HOLD = "hold"
    STEP = "step"
    DONE = "done"
    STOP = "stop"


@dataclass(frozen=True, kw_only=True)
class Round:
    """The round that is judged."""

    number: int
    """Since the traffic was set (`round_number`)."""
    since: datetime
    """When it began."""
    figures: tuple[ArmFigures, ...]
    """What was counted in it, by variant of the plan."""


@dataclass(frozen=True, kw_only=True)
class TrafficDecision:
    """What is decided, and why."""

    action: TrafficAction
    """hold, step, done or stop."""
    state: TrafficState
    """What is wanted from now on; the same while it holds."""
    guardrails: tuple[GuardrailResult, ...] = ()
    """Results of the guardrails."""
    reasons: tuple[Reason, ...] = ()
    """Why."""
    next_round: bool = False
    """Whether the round is over, so that new counters begin."""

    @property
    def kind(self) -> str | None:
        """Kind of the entry that says it; None: nothing is written."""
        kinds = {TrafficAction.STEP: STEPPED, TrafficAction.DONE: DONE, TrafficAction.STOP: STOPPED}
        return kinds.get(self.action)

    def to_payload(self) -> dict[str, Any]:
        """Return what its entry holds: the state, and the guardrails' results."""
        return {**self.state.to_dict(), "guardrails": [one.to_dict() for one in self.guardrails]}

    @classmethod
    def stop_from_payload(cls, payload: Mapping[str, Any]) -> TrafficDecision:
        """Return a stop from what `to_payload` wrote of it."""
        state = TrafficState.from_dict(payload)
        guardrails = tuple(map(GuardrailResult.from_dict, payload["guardrails"]))
        return stop_traffic(state, state.reasons, guardrails=guardrails)


def decide_traffic(
    state: TrafficState, current: Round, *, now: datetime, limits: GuardrailLimits
) -> TrafficDecision:
    """Decide what becomes of a model's traffic.

    Parameters
    ----------
    state : TrafficState
        What is in force (`in_force`).
    current : Round
        What happened since the round began.
    now : datetime
        Aware.
    limits : GuardrailLimits
        What arms are held to; a ramp brings its own rows and time.
    """
    arms, passed = state.plan.challengers, now - current.since
    figures = {one.name: ArmFigures(name=one.name) for one in state.plan.variants}
    figures |= {one.name: one for one in current.figures}
    hold = TrafficDecision(action=TrafficAction.HOLD, state=state)
    if not arms:
        return replace(hold, next_round=passed >= limits.min_time)
    level = round_level(limits, number=current.number, arms=len(arms))
    results = tuple(one for arm in arms for one in _judge(state, arm, figures, limits, level))
    tripped = [one.to_reason() for one in results if one.tripped]
    if tripped:
        return stop_traffic(state, tripped, guardrails=results)
    pace = state.ramp or Ramp(arm=arms[0].name, min_rows=limits.min_rows, min_time=limits.min_time)
    rows, hold = figures[pace.arm].rows, replace(hold, guardrails=results)
    if rows < pace.min_rows or passed < pace.min_time:
        return replace(hold, reasons=(_early(pace, rows, passed),))
    doubts = tuple(one.to_reason() for one in results if one.doubtful)
    if doubts:
        return replace(hold, reasons=doubts, next_round=rows >= MAX_ROUND_LENGTH * pace.min_rows)
    return _go_on(hold, baseline=figures[state.plan.champion.name], rows=rows)


def stop_traffic(
    state: TrafficState, reasons: Sequence[Reason], *, guardrails: tuple[GuardrailResult, ...] = ()
) -> TrafficDecision:
    """Decide to send everything back to the champion; shadows go on."""
    plan = state.plan.without(*(one.name for one in state.plan.challengers))
    back = replace(state, plan=plan, ramp=None, step=None, baseline=None)
    return _ended(TrafficAction.STOP, back, tuple(reasons), guardrails)


def _ended(
    action: TrafficAction,
    state: TrafficState,
    reasons: tuple[Reason, ...],
    guardrails: tuple[GuardrailResult, ...] = (),
) -> TrafficDecision:
    """Return a decision that changes the traffic, so that a new round begins."""
    state = replace(state, reasons=reasons)
    return TrafficDecision(
        action=action, state=state, guardrails=guardrails, reasons=reasons, next_round=True
    )


def renew_stop(stop: TrafficDecision, newest: TrafficState) -> TrafficDecision | None:
    """Return a stop by guardrails, laid on what is wanted now; None where there is nothing left for it to stop.

    What services write between (a step, the end of another variant) does not undo it. What a person sets does: the
    traffic was then set at another time.

    Parameters
    ----------
    stop : TrafficDecision
        What was decided (`decide_traffic`), and perhaps not written yet.
    newest : TrafficState
        What the ledger says now.
    """
    tripped = {one.arm for one in stop.guardrails if one.tripped}
    answering = {one.name for one in newest.plan.challengers}
    if not tripped & answering or not _unchanged_between(stop.state, newest):
        return None
    return stop_traffic(newest, stop.reasons, guardrails=stop.guardrails)


def end_variants(state: TrafficState, names: Sequence[str], reasons: Sequence[Reason]) -> TrafficDecision:
    """Decide to end some challengers and shadows; the champion takes what they had, others go on."""
    judged = tuple(name for name in state.judged if name not in names)
    after = replace(without_variants(state, names), judged=judged)
    return _ended(TrafficAction.DONE, after, tuple(reasons))


def _unchanged_between(one: TrafficState, other: TrafficState) -> bool:
    """Return whether the traffic was not set between; without a known time, as in a copy, the salts are compared."""
    if one.set_at is None or other.set_at is None:
        return one.plan.salt == other.plan.salt
    return one.set_at == other.set_at


def _judge(
    state: TrafficState, arm: Variant, figures: dict[str, ArmFigures], limits: GuardrailLimits, level: float
) -> tuple[GuardrailResult, ...]:
    champion = state.plan.champion
    together = arm.cells + champion.cells
    if arm.name in state.judged:
        # a model of newer rows is meant to score differently; its outcomes tell how well
        limits = replace(limits, score_shift=None)
    return judge_arm(
        figures[arm.name],
        figures[champion.name],
        share=arm.cells / together if together else 0.0,
        limits=limits,
        level=level,
        baseline=state.baseline,
    )


def _go_on(hold: TrafficDecision, *, baseline: ArmFigures, rows: int) -> TrafficDecision:
    """Return the next step of the ramp, or its end, or the next round of a plan without one."""
    state, ramp, step = hold.state, hold.state.ramp, hold.state.step
    if ramp is None or step is None:
        return replace(hold, next_round=True)
    state = replace(state, baseline=baseline if baseline.answered else state.baseline)
    share = f"{ramp.steps[step]:.2%}"
    if step + 1 < len(ramp.steps):
        following = ramp.steps[step + 1]
        message = (
            f"'{ramp.arm}' answered {rows} rows at {share} without a guardrail; it gets {following:.2%}."
        )
        reason = Reason(code="step_passed", message=message, observed=rows, limit=ramp.min_rows)
        state = replace(state, plan=state.plan.with_share(ramp.arm, following), step=step + 1)
        return _ended(TrafficAction.STEP, state, (reason,), hold.guardrails)
    message = f"'{ramp.arm}' passed the last step of its ramp and stays at {share}."
    reason = Reason(code="ramp_done", message=message, observed=rows, limit=ramp.min_rows)
    return _ended(TrafficAction.DONE, replace(state, ramp=None, step=None), (reason,), hold.guardrails)


def _early(pace: Ramp, rows: int, passed: timedelta) -> Reason:
    message = (
        f"'{pace.arm}' answered {rows} of at least {pace.min_rows} rows in "
        f"{passed.total_seconds():.0f} of at least {pace.min_time.total_seconds():.0f} s."
    )
    return Reason(code="round_not_over", message=message, observed=rows, limit=pace.min_rows)


# The traffic of one process: routes rows by the plan in force, counts what becomes of them, and decides in rounds.


class TrafficController:
    """Assignment, counters and judgement of one process, held together through changes of plan and champion.

    The caller follows the ledger (`follow`), routes and counts (`assigner`, `counts`), and asks every few seconds
    (`decide`). What is decided it writes to the ledger, and follows.

    Parameters
    ----------
    state : TrafficState
        What is in force (`evergreen.tasks.core.traffic.state.in_force`).
    champion : int | None
        Version of @champion.
    limits : Limits
        What arms are held to.
    now : datetime
        Aware.

    Attributes
    ----------
    assigner : Assigner
        Of the plan in force.
    counts : RoundCounts
        Of the round.
    """

    def __init__(
        self, state: TrafficState, *, champion: int | None, limits: GuardrailLimits, now: datetime
    ) -> None:
        self.state = state
        self.champion = champion
        self.assigner = Assigner(state.plan)
        self._limits = limits
        self._number = 0
        self._begin(self._fresh(state.plan), now)

    def follow(self, state: TrafficState, *, champion: int | None, now: datetime) -> bool:
        """Take up what is in force now; True when that is a change, so that a new round begins.

        Another champion answers otherwise: what was measured of the old one's latencies and scores is forgotten.
        """
        if state == self.state and champion == self.champion:
            return False
        same = champion == self.champion
        if state.set_at != self.state.set_at:
            self._number = 0
        counts = self.counts.next_round(state.plan) if same else self._fresh(state.plan)
        if state.plan != self.state.plan:
            self.assigner = Assigner(state.plan)
        self.state, self.champion = state, champion
        self._begin(counts, now)
        return True

    def decide(self, *, now: datetime) -> TrafficDecision:
        """Judge the round, and begin the next where it is over and nothing changes.

        A decision with a ``kind`` must be written to the ledger by the caller, who follows what is there afterwards,
        whoever wrote it; on ``TrafficAction.STOP`` it follows ``decision.state`` at once, written or not.
        """
        current = Round(number=self._number, since=self._since, figures=self.counts.figures())
        decision = decide_traffic(self.state, current, now=now, limits=self._limits)
        if decision.next_round and decision.kind is None:
            self._begin(self.counts.next_round(self.state.plan), now)
        return decision

    def _fresh(self, plan: TrafficPlan) -> RoundCounts:
        return RoundCounts(plan, latency_ratio=self._limits.latency_ratio or 1.0)

    def _begin(self, counts: RoundCounts, now: datetime) -> None:
        self.counts, self._since = counts, now
        least = self.state.ramp.min_time if self.state.ramp is not None else self._limits.min_time
        self._number = round_number(
            set_at=self.state.set_at or now, now=now, min_time=least, before=self._number
        )
