"""Replay one policy, a step a window; whoever runs it can report progress between steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from evergreen.tasks.core.alerts.alert import AlertLevel
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.monitoring.monitor import (
    StreamPosition,
    after_check,
    find_due,
    frontier,
    hide_late_labels,
    label_times,
    monitor_window,
)
from evergreen.tasks.core.monitoring.setup import ChampionMonitor, prepare_monitor
from evergreen.tasks.core.monitoring.window_result import window_alert
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

# Monitoring in a replay: the windows that are due as of a step, checked as the live monitor checks them.


@dataclass(frozen=True, kw_only=True)
class StepChecks:
    """Results of the checks of one step."""

    levels: Mapping[str, str] = field(default_factory=dict)
    """Newest level of each kind of drift that was checked in this step."""
    opened: int = 0
    """Alarms that opened."""


@dataclass(kw_only=True)
class SimulatedMonitor:
    """The monitor of one policy: where its two streams stand."""

    state: PolicyState
    """The policy's rows and configuration."""
    streams: dict[Phase, StreamPosition] = field(
        default_factory=lambda: {phase: StreamPosition(state=DetectorState.empty()) for phase in Phase}
    )
    """Where each stream stands."""
    judged: list[Window] = field(default_factory=list)
    """Windows whose inputs were checked."""
    newest: dict[Phase, Mapping[str, Any]] = field(default_factory=dict)
    """The newest entry of each stream, as the ledger would hold it."""
    _monitor: ChampionMonitor[Any] | None = None

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        """Return the newest entry of each stream that has one."""
        return [self.newest[phase] for phase in Phase if phase in self.newest]

    def check_windows(self, champion: Version, step: Step) -> StepChecks:
        """Check every window that is due, both phases."""
        monitor = self._of_champion(champion)
        before = {phase: self.streams[phase].seq for phase in Phase}
        opened = sum(self._check(monitor, phase, step) for phase in monitor.phases)
        levels = {
            kind: verdict["level"]
            for phase, entry in self.newest.items()
            if self.streams[phase].seq > before[phase]
            for kind, verdict in entry["kinds"].items()
        }
        return StepChecks(levels=levels, opened=opened)

    def _of_champion(self, champion: Version) -> ChampionMonitor[Any]:
        """Return the monitor of a champion, prepared when it is promoted."""
        if self._monitor is None or self._monitor.version != champion.number:
            config, plan = self.state.config, champion.model.plan
            self._monitor = prepare_monitor(
                champion.model,
                champion.frozen,
                config=config,
                metric=self.state.tools.metric(config),
                version=champion.number,
                trained_to=plan.unseen_from if plan.unseen_from is not None else champion.trained_up_to,
            )
        return self._monitor

    def _check(self, monitor: ChampionMonitor[Any], phase: Phase, step: Step) -> int:
        """Check what is due in one phase; return how many alarms opened."""
        position, judged = self.streams[phase], None
        if phase is Phase.OUTCOMES:
            judged = [one for one in self.judged if position.end is None or one.start >= position.end]
        since = frontier(position, learned=monitor.trained_to, judged=judged)
        positions = self.state.history.rows_until(since, step.until)
        due = find_due(positions, monitor, phase, position, judged=judged, now=step.until, until=step.until)
        return sum(self._check_window(monitor, one) for one in due.windows)

    def _check_window(self, monitor: ChampionMonitor[Any], due: DueWindow) -> int:
        """Check one window, of outcomes with the labels known by then, and store what the ledger would."""
        config, position, late = self.state.config, self.streams[due.phase], 0
        rows = self.state.history.between(due.window)
        if due.phase is Phase.INPUTS:
            self.judged.append(due.window)
        else:
            label_at = label_times(rows, config=config)
            rows, late = hide_late_labels(
                rows, target=config.data.target, known_at=label_at, known_by=due.known_by
            )
        result = monitor_window(monitor, due, rows, late=late, head=position)
        alert = window_alert(result.result, position.alert, config=config, clock=monitor.clock)
        self.streams[due.phase] = after_check(position, result, alert, seq=position.seq + 1)
        entry = result.result.to_entry(clock=monitor.clock)
        self.newest[due.phase] = {**entry, "alert": alert.to_dict()}
        return sum(alarm.level is not AlertLevel.WARNING for alarm in alert.opened)


# What a policy does after each window: nothing, a refit whatever happens, or all that runs live.


@dataclass(frozen=True, kw_only=True)
class PolicyAction:
    """What a policy did after a window."""

    checks: StepChecks = field(default_factory=StepChecks)
    decision: RetrainDecision | None = None
    retraining: RetrainingEnd | None = None


class NeverRetrain:
    """Keep the first model; it is monitored, for the alarms it would raise."""

    def __init__(self, state: PolicyState, registry: SimulatedRegistry) -> None:
        assert registry.champion is not None
        self.state, self.registry, self.first = state, registry, registry.champion
        self.monitor = SimulatedMonitor(state=state)

    @property
    def champion(self) -> Version:
        """Who answers."""
        assert self.registry.champion is not None
        return self.registry.champion

    def act(self, step: Step) -> PolicyAction:
        """Check the windows, and leave it at that."""
        return PolicyAction(checks=self.monitor.check_windows(self.champion, step))


class AlwaysRefit(NeverRetrain):
    """Refit the first model's recipe at every window, and deploy it ungated and unmonitored."""

    def act(self, step: Step) -> PolicyAction:
        """Refit on all labelled rows of ``retraining.window`` as of now."""
        state, registry = self.state, self.registry
        try:
            parts = state.history.parts(state.config, until=step.until, refit=True)
            made = refit_version(self.first, parts, state.config, number=registry.made + 1, tools=state.tools)
        except NotLearnable as error:
            reasons = (Reason.from_error(error),)
            end = RetrainingEnd(state=State.INSUFFICIENT_DATA, registry=registry, reasons=reasons)
        else:
            self.registry = registry = registry.numbered().promoted(made, made, at=step.at)
            end = RetrainingEnd(state=State.PROMOTED, registry=registry, version=made.number, rows=made.rows)
        return PolicyAction(retraining=end)


class ConfiguredPolicy(NeverRetrain):
    """Monitor, decide, retrain, gate, challenge, promote: as it runs live."""

    def __init__(self, state: PolicyState, registry: SimulatedRegistry) -> None:
        super().__init__(state, registry)
        self.policy: RetrainPolicy = retrain_policy(state.config)

    def act(self, step: Step) -> PolicyAction:
        """Check the windows, then decide, then run the stages of a retraining that starts."""
        checks = self.monitor.check_windows(self.champion, step)
        request, ledger = self._request(step), self.state.ledger
        now = Moment(at=step.at, position=request.labels.newest)
        decision = decide_retrain(now, fold_history(ledger.read(RETRAINING)), request, self.policy)
        if not decision.starts:
            return PolicyAction(checks=checks, decision=decision)
        payload = claim_payload(now, request, decision, until=str(step.until))
        claim = ledger.append(RETRAINING, STARTED, payload, at=step.at)
        retraining = run_stages(self.state, self.registry, step, change_at=decision.change_at)
        self.registry = retraining.registry
        ended = {"claim": claim.id, "state": retraining.state.value, "version": retraining.version}
        ledger.append(RETRAINING, ENDED, ended, at=step.at)
        return PolicyAction(checks=checks, decision=decision, retraining=retraining)

    def _request(self, step: Step) -> RetrainingRequest:
        """Gather what asks, as `evergreen.tasks.retraining.gather_causes` does."""
        config, entries, version = self.state.config, self.monitor.entries, self.champion.number
        return RetrainingRequest(
            causes=drift_causes(entries, version=version, policy=self.policy, clock=config.data.clock),
            judged=could_judge(entries, version=version),
            labels=self.state.history.labels(config, until=step.until),
            champion_since=self.registry.since,
            champion_trained_up_to=self.champion.trained_up_to,
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
    beginning : ReplayStart
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
    state = PolicyState(config=config, history=beginning.history, ledger=ledger, tools=beginning.tools)
    run = _POLICIES[spec.mode](state, beginning.registry)
    scorecard = Scorecard.of(config, beginning.tools.metric(config))
    for step in beginning.steps:
        begun = timer()
        champion = run.champion
        answers = champion.model.score(state.history.between(step.window), config=config)
        performance, accuracy = scorecard.measure(answers)
        action = run.act(step)
        end = action.retraining
        yield StepResult(
            step=step,
            version=champion.number,
            performance=performance,
            accuracy=accuracy,
            levels=action.checks.levels,
            alarms=action.checks.opened,
            decision=action.decision.to_dict() if action.decision else None,
            state=end.state if end else None,
            reasons=end.reasons if end else (),
            made=end.version if end else None,
            rows=end.rows if end else 0,
            seconds=timer() - begun,
        )
