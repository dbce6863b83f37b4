"""Replay one policy, a step a window; whoever runs it can report progress between steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from tasks.core.errors import InputError
from tasks.core.replay.conduct import Every, Governed, Never
from tasks.core.replay.first import Beginning
from tasks.core.replay.persistence import replay_persistence
from tasks.core.replay.policies import PolicySpec
from tasks.core.replay.results import ReplayResult, conclude_policy, conclude_replay
from tasks.core.replay.scorecard import Scorecard
from tasks.core.replay.stages import Court
from tasks.core.replay.step import Step

Timer = Callable[[], float]
"""Seconds of a clock that only runs forward."""

_CONDUCTS = {"governed": Governed, "never": Never, "every": Every}


def replay_policy(
    beginning: Beginning, spec: PolicySpec, *, timer: Timer, full: bool = False
) -> Iterator[Step]:
    """Yield one step a window.

    Parameters
    ----------
    beginning : Beginning
        From `tasks.core.replay.first.begin_replay`; not changed, so that policies may run side by side.
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
    court = Court(config=config, history=beginning.history, ledger=ledger, tools=beginning.tools)
    run = _CONDUCTS[spec.mode](court, beginning.throne)
    scorecard = Scorecard.of(config, beginning.tools.metric(config))
    for tick in beginning.ticks:
        begun = timer()
        champion = run.champion
        performance, accuracy = scorecard.score(court.history, champion.model, tick.window, config=config)
        done = run.act(tick)
        yield Step(
            tick=tick, version=champion.number, performance=performance, accuracy=accuracy,
            levels=done.watched.levels, alarms=done.watched.opened,
            decision=None if done.decision is None else done.decision.to_dict(),
            state=done.walked.state if done.walked else None,
            reasons=done.walked.reasons if done.walked else (),
            made=done.walked.version if done.walked else None,
            rows=done.walked.rows if done.walked else 0,
            seconds=timer() - begun,
        )  # fmt: skip


def replay_all(
    beginning: Beginning, specs: Sequence[PolicySpec], *, timer: Timer, full: bool = False
) -> ReplayResult:
    """Replay policies one after the other, and the baseline beside them; see ``replay_policy``."""
    metric, clock = beginning.tools.metric(beginning.config), beginning.config.data.clock
    results = [
        conclude_policy(
            spec.name,
            list(replay_policy(beginning, spec, timer=timer, full=full)),
            metric=metric,
            clock=clock,
        )
        for spec in specs
    ]
    return conclude_replay(results, baseline=replay_persistence(beginning), notes=beginning.notes)
