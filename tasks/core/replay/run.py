"""Replay one policy, a step a window; whoever runs it can report progress between steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evergreen.tasks.core.alerts.alert import AlertLevel
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.monitoring.monitor import (
    ChampionMonitor,
    StreamPosition,
    after_check,
    alert_policy,
    find_due,
    frontier,
    monitor_window,
    prepare_monitor,
)
from evergreen.tasks.core.monitoring.window_alert import window_alert
from evergreen.tasks.core.monitoring.window_check import hide_late_labels, label_times
from evergreen.tasks.core.monitoring.windows import DueWindow
from evergreen.tasks.core.replay.history import Step
from evergreen.tasks.core.replay.results import Scorecard, StepResult
from evergreen.tasks.core.replay.setup import PolicySpec, ReplayStart
from evergreen.tasks.core.replay.stages import (
    PolicyState,
    RetrainingEnd,
    SimulatedRegistry,
    Version,
    refit_version,
    run_stages,
)
from evergreen.tasks.core.retraining.decide import could_judge, decide_retrain, drift_causes
from evergreen.tasks.core.retraining.history import ENDED, RETRAINING, STARTED, claim_payload, fold_history
from evergreen.tasks.core.retraining.types import (
    Moment,
    RetrainDecision,
    RetrainingRequest,
    RetrainPolicy,
    retrain_policy,
)
from evergreen.tasks.core.verdict import Reason, State

# Watching in a replay: the windows that are due as of a step, looked at as the monitor looks at them.


@dataclass(frozen=True, kw_only=True)
class StepChecks:
    """What the looks of one step found."""

    levels: Mapping[str, str] = field(default_factory=dict)
    """Newest level of each kind of drift that was looked at in this step."""
    opened: int = 0
    """Alarms that opened."""


@dataclass(kw_only=True)
class SimulatedMonitor:
    """The monitor of one policy: where its two streams stand."""

    court: PolicyState
    """The policy's rows and configuration."""
    heads: dict[Phase, StreamPosition] = field(
        default_factory=lambda: {phase: StreamPosition(memory=DetectorState.empty()) for phase in Phase}
    )
    """Where each stream stands."""
    judged: list[Window] = field(default_factory=list)
    """Windows whose inputs were looked at."""
    newest: dict[Phase, Mapping[str, Any]] = field(default_factory=dict)
    """The newest entry of each stream, as the ledger would hold it."""
    _guard: ChampionMonitor | None = None

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        """Return the newest entry of each stream that has one."""
        return [self.newest[phase] for phase in Phase if phase in self.newest]

    def watch(self, champion: Version, tick: Step) -> StepChecks:
        """Look at every window that is due, both phases."""
        guard = self._post(champion)
        before = {phase: self.heads[phase].seq for phase in Phase}
        opened = sum(self._look(guard, phase, tick) for phase in guard.phases)
        levels = {
            kind: verdict["level"]
            for phase, entry in self.newest.items()
            if self.heads[phase].seq > before[phase]
            for kind, verdict in entry["kinds"].items()
        }
        return StepChecks(levels=levels, opened=opened)

    def _post(self, champion: Version) -> ChampionMonitor:
        """Return the guard of a champion, prepared once a reign."""
        if self._guard is None or self._guard.version != champion.number:
            config = self.court.config
            plan = champion.model.plan
            self._guard = prepare_monitor(
                champion.model,
                champion.frozen,
                config=config,
                metric=self.court.tools.metric(config),
                version=champion.number,
                trained_to=plan.unseen_from if plan.unseen_from is not None else champion.learned_to,
            )
        return self._guard

    def _look(self, guard: ChampionMonitor, phase: Phase, tick: Step) -> int:
        """Look at what is due in one phase; return how many alarms opened."""
        head, config = self.heads[phase], self.court.config
        judged = self._waiting(head) if phase is Phase.OUTCOMES else None
        since = frontier(head, learned=guard.watch.trained_to, judged=judged)
        positions = self.court.history.seen(since, tick.until)
        due = find_due(
            positions, guard, phase, head, config=config, judged=judged, now=tick.until, until=tick.until
        )
        return sum(self._look_at(guard, one) for one in due.windows)

    def _look_at(self, guard: ChampionMonitor, due: DueWindow) -> int:
        """Look at one window and keep what the ledger would."""
        config, head = self.court.config, self.heads[due.phase]
        rows, late = self._rows(due)
        seen = monitor_window(guard, due, rows, late=late, head=head, config=config)
        alert = window_alert(seen.looked, head.alert, teller=alert_policy(guard, config=config))
        self.heads[due.phase] = after_check(head, seen, alert, seq=head.seq + 1)
        self.newest[due.phase] = {**seen.looked.to_entry(clock=guard.watch.clock), "alert": alert.to_dict()}
        if due.phase is Phase.INPUTS:
            self.judged.append(due.window)
        return sum(alarm.level is not AlertLevel.WARNING for alarm in alert.opened)

    def _rows(self, due: DueWindow) -> tuple[Rows, int]:
        """Return a window's rows; those of outcomes with the labels known by then, and how many came later."""
        config, rows = self.court.config, self.court.history.between(due.window)
        if due.phase is Phase.INPUTS:
            return rows, 0
        known = label_times(rows, config=config)
        return hide_late_labels(rows, target=config.data.target, known=known, known_by=due.known_by)

    def _waiting(self, head: StreamPosition) -> list[Window]:
        return [one for one in self.judged if head.end is None or one.start >= head.end]


# What a policy does after each window: nothing, a refit whatever happens, or all that runs live.


@dataclass(frozen=True, kw_only=True)
class PolicyAction:
    """What a policy did after a window."""

    watched: StepChecks = field(default_factory=StepChecks)
    decision: RetrainDecision | None = None
    walked: RetrainingEnd | None = None


class NeverRetrain:
    """Keep the first model; it is watched, for the alarms it would raise."""

    def __init__(self, court: PolicyState, throne: SimulatedRegistry) -> None:
        assert throne.champion is not None
        self.court, self.throne, self.first = court, throne, throne.champion
        self.watchman = SimulatedMonitor(court=court)

    @property
    def champion(self) -> Version:
        """Who answers."""
        assert self.throne.champion is not None
        return self.throne.champion

    def act(self, tick: Step) -> PolicyAction:
        """Watch, and leave it at that."""
        return PolicyAction(watched=self.watchman.watch(self.champion, tick))


class AlwaysRefit(NeverRetrain):
    """Refit the first model's recipe at every window, and deploy it ungated and unwatched."""

    def act(self, tick: Step) -> PolicyAction:
        """Refit on all labelled rows of ``retraining.window`` as of now."""
        court, throne = self.court, self.throne
        try:
            parts = court.history.parts(court.config, until=tick.until, refit=True)
            made = refit_version(self.first, parts, court.config, number=throne.made + 1, tools=court.tools)
        except NotLearnable as error:
            refused = RetrainingEnd(
                state=State.INSUFFICIENT_DATA, throne=throne, reasons=(Reason.from_error(error),)
            )
            return PolicyAction(walked=refused)
        self.throne = throne.numbered().crowned(made, made, at=tick.at)
        return PolicyAction(
            walked=RetrainingEnd(
                state=State.PROMOTED, throne=self.throne, version=made.number, rows=made.rows
            )
        )


class ConfiguredPolicy(NeverRetrain):
    """Monitor, decide, retrain, gate, challenge, promote: as it runs live."""

    def __init__(self, court: PolicyState, throne: SimulatedRegistry) -> None:
        super().__init__(court, throne)
        self.policy: RetrainPolicy = retrain_policy(court.config)

    def act(self, tick: Step) -> PolicyAction:
        """Look at what is due, then decide, then walk the stages of a retraining that starts."""
        watched = self.watchman.watch(self.champion, tick)
        asked = self._asked(tick)
        now = Moment(at=tick.at, position=asked.labels.newest)
        ledger = self.court.ledger
        decision = decide_retrain(now, fold_history(ledger.read(RETRAINING)), asked, self.policy)
        if not decision.starts:
            return PolicyAction(watched=watched, decision=decision)
        claim = ledger.append(
            RETRAINING, STARTED, claim_payload(now, asked, decision, until=str(tick.until)), at=tick.at
        )
        walked = run_stages(self.court, self.throne, tick, change_at=decision.change_at)
        self.throne = walked.throne
        ended = {"claim": claim.id, "state": walked.state.value, "version": walked.version}
        ledger.append(RETRAINING, ENDED, ended, at=tick.at)
        return PolicyAction(watched=watched, decision=decision, walked=walked)

    def _asked(self, tick: Step) -> RetrainingRequest:
        """Gather what asks, as `evergreen.tasks.retraining.gather_causes` does."""
        config, entries, version = self.court.config, self.watchman.entries, self.champion.number
        return RetrainingRequest(
            causes=drift_causes(entries, version=version, policy=self.policy, clock=config.data.clock),
            judged=could_judge(entries, version=version),
            labels=self.court.history.labels(config, until=tick.until),
            champion_since=self.throne.since,
            champion_learned_to=self.champion.learned_to,
        )


Timer = Callable[[], float]
"""Seconds of a clock that only runs forward."""

_POLICIES = {"governed": ConfiguredPolicy, "never": NeverRetrain, "every": AlwaysRefit}


def replay_policy(
    beginning: ReplayStart, spec: PolicySpec, *, timer: Timer, full: bool = False
) -> Iterator[StepResult]:
    """Yield one step a window.

    Parameters
    ----------
    beginning : Beginning
        From `evergreen.tasks.core.replay.setup.begin_replay`; not changed, so that policies may run side by side.
    spec : PolicySpec
        The policy.
    timer : callable
        Seconds of a clock that only runs forward.
    full : bool
        Let all candidates compete in each retraining. By default the first model's candidate and settings are fitted
        again: with one candidate configured that is the same.

    Raises
    ------
    InputError
        When the policy's windows are not those of the replay.
    """
    if spec.config.monitoring.window != beginning.config.monitoring.window:
        raise InputError(
            f"Policy '{spec.name}' has monitoring.window {spec.config.monitoring.window}, the replay is cut by "
            f"{beginning.config.monitoring.window}. Policies are compared on the same windows; leave it as it is."
        )
    config = spec.config if full else beginning.recipe(spec.config)
    ledger = beginning.ledger.copy()
    court = PolicyState(config=config, history=beginning.history, ledger=ledger, tools=beginning.tools)
    run = _POLICIES[spec.mode](court, beginning.throne)
    scorecard = Scorecard.of(config, beginning.tools.metric(config))
    for tick in beginning.ticks:
        begun = timer()
        champion = run.champion
        performance, accuracy = scorecard.score(court.history, champion.model, tick.window, config=config)
        done = run.act(tick)
        yield StepResult(
            tick=tick,
            version=champion.number,
            performance=performance,
            accuracy=accuracy,
            levels=done.watched.levels,
            alarms=done.watched.opened,
            decision=None if done.decision is None else done.decision.to_dict(),
            state=done.walked.state if done.walked else None,
            reasons=done.walked.reasons if done.walked else (),
            made=done.walked.version if done.walked else None,
            rows=done.walked.rows if done.walked else 0,
            seconds=timer() - begun,
        )
