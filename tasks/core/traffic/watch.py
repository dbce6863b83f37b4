"""The traffic of one process: routes rows by the plan in force, counts what becomes of them, and decides in rounds."""

from __future__ import annotations

from datetime import datetime

from tasks.core.traffic.assign import Assigner
from tasks.core.traffic.counts import RoundCounts
from tasks.core.traffic.decide import Round, TrafficDecision, decide_traffic
from tasks.core.traffic.limits import Limits, round_number
from tasks.core.traffic.state import TrafficState


class TrafficWatch:
    """Assignment, counters and judgement of one process, kept together through changes of plan and champion.

    The caller follows the ledger (`follow`), routes and counts (`assigner`, `counts`), and asks every few seconds
    (`decide`). What is decided it writes to the ledger, and follows.

    Parameters
    ----------
    state : TrafficState
        What is in force (`tasks.core.traffic.state.in_force`).
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

    def __init__(self, state: TrafficState, *, champion: int | None, limits: Limits, now: datetime) -> None:
        self.state = state
        self.champion = champion
        self.assigner = Assigner(state.plan)
        self._limits = limits
        self._number = 0
        self._begin(RoundCounts(state.plan, latency_ratio=limits.latency_ratio or 1.0), now)

    def follow(self, state: TrafficState, *, champion: int | None, now: datetime) -> bool:
        """Take up what is in force now; True when that is a change, so that a new round begins.

        Another champion answers otherwise: what was known of the old one's latencies and scores is forgotten.
        """
        if state == self.state and champion == self.champion:
            return False
        same = champion == self.champion
        if state.set_at != self.state.set_at:
            self._number = 0
        fresh = RoundCounts(state.plan, latency_ratio=self._limits.latency_ratio or 1.0)
        counts = self.counts.next_round(state.plan) if same else fresh
        if state.plan != self.state.plan:
            self.assigner = Assigner(state.plan)
        self.state, self.champion = state, champion
        self._begin(counts, now)
        return True

    def decide(self, *, now: datetime) -> TrafficDecision:
        """Judge the round, and begin the next where it is over and nothing changes.

        A decision with a ``kind`` must be written to the ledger by the caller, who follows what is there afterwards,
        whoever wrote it; on ``Act.STOP`` it follows ``decision.state`` at once, written or not.
        """
        seen = Round(number=self._number, since=self._since, figures=self.counts.figures())
        decision = decide_traffic(self.state, seen, now=now, limits=self._limits)
        if decision.next_round and decision.kind is None:
            self._begin(self.counts.next_round(self.state.plan), now)
        return decision

    def _begin(self, counts: RoundCounts, now: datetime) -> None:
        self.counts, self._since = counts, now
        least = self.state.ramp.min_time if self.state.ramp is not None else self._limits.min_time
        self._number = round_number(
            set_at=self.state.set_at or now, now=now, min_time=least, before=self._number
        )
