"""Replay: read the history, train the first model, run each policy as a task of its own, report the results."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from prefect import get_run_logger
from threadpoolctl import threadpool_limits

from evergreen.tasks.core.data.clock import format_position, parse_position
from evergreen.tasks.core.data.columns import needed_columns
from evergreen.tasks.core.replay import results
from evergreen.tasks.core.replay import search as replay_search
from evergreen.tasks.core.replay.history import History
from evergreen.tasks.core.replay.results import PolicyResult, ReplayResult
from evergreen.tasks.core.replay.run import replay_policy
from evergreen.tasks.core.replay.search import SearchResult
from evergreen.tasks.core.replay.setup import PolicySpec, ReplayStart, begin_replay, parse_policies
from evergreen.tasks.core.replay.stages import Tools
from evergreen.tasks.core.reports.replay_page import replay_items, replay_markdown, replay_rows
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.validation.gate import configured_gates
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.data import open_source_of
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.contracts import check_contract
from evergreen.tasks.io.replay_pareto import draw_replay_page
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.runtime.publish import Artifact, Report, publish
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task


class ReplayContext:
    """A history and where its replays begin; no dataclass, so that Prefect passes it on without searching it."""

    def __init__(self, setup: Setup, history: History, beginning: ReplayStart) -> None:
        self.setup, self.history, self.beginning = setup, history, beginning


@stage_task(**TRANSIENT)
def prepare_replay(
    setup: Setup, *, since: str | None = None, until: str | None = None, full: bool = False
) -> ReplayContext:
    """Read all rows, train the first model as of ``since``, and cut the windows.

    Raises
    ------
    InputError
        When the model has no clock, or no window comes after ``since``.
    NotLearnable
        When no first model can be trained.
    """
    source, config = open_source_of(setup), setup.config
    clock = config.data.clock
    history = History.of(source.read_rows(columns=needed_columns(source.columns(), config)), config)
    if until is not None:
        history = history.before(parse_position(until, clock=clock))
    start = None if since is None else parse_position(since, clock=clock)
    check = check_contract if full and config.contract.enabled else None  # it costs seconds a retraining
    tools = Tools(metrics=custom_metrics(config), gates=configured_gates(config), check_contract=check)
    return ReplayContext(setup, history, begin_replay(history, config, tools=tools, start=start))


@stage_task(task_run_name="replay {spec.name}", **SIDE_EFFECT)
def replay_one(context: ReplayContext, spec: PolicySpec, *, full: bool = False) -> PolicyResult:
    """Replay one policy; the run's log shows the progress at every tenth part."""
    beginning = context.beginning
    logger, total = get_run_logger(), len(beginning.steps)
    steps = []
    with threadpool_limits(1):  # policies run side by side: teams of threads would wait for one another
        for step in replay_policy(beginning, spec, timer=time.thread_time, full=full):
            steps.append(step)
            if len(steps) % max(total // 10, 1) == 0 or len(steps) == total:
                logger.info("%s: window %d of %d", spec.name, len(steps), total)
    metric, clock = beginning.tools.metric(beginning.config), beginning.config.data.clock
    return results.conclude_policy(spec.name, steps, metric=metric, clock=clock)


def run_all(context: ReplayContext, specs: Sequence[PolicySpec], *, full: bool) -> ReplayResult:
    """Run policies side by side, each a task; put them beside the baseline 'same as the last label'."""
    waiting = [replay_one.begin(context, spec, full=full) for spec in specs]
    baseline = results.replay_persistence(context.beginning)
    policies = [result() for result in waiting]
    return results.conclude_replay(policies, baseline=baseline, notes=context.beginning.notes)


@stage_task(**TRANSIENT)
def report_replay(
    context: ReplayContext, result: ReplayResult, search: SearchResult | None = None
) -> StageResult:
    """Log table, page and JSON to MLflow (``<model>/retraining``), show them in Prefect, return the summary."""
    setup, beginning = context.setup, context.beginning
    clock = setup.config.data.clock
    start = format_position(beginning.start.until, clock=clock)
    plain = {**result.to_dict(), "model": setup.model, "clock": clock, "start": start}
    searched = search.to_dict() if search else None
    name = f"replay {len(result.policies)} policies"
    report = Report(setup, "replay", name=name, facts={"result": result})
    page = partial(replay_markdown, plain)
    shown = [
        Artifact("replay-{model}", "Policies of retraining, replayed", page),
        Artifact("replay-{model}-policies", "Policies, replayed", table=replay_rows(plain)),
        Artifact("replay-{model}-run", link="The replay's page in MLflow"),
    ]
    items = replay_items(plain, draw_replay_page(plain, search=searched), search=searched)
    run = publish(report, [*items, *shown])
    policies = [_short(one) for one in plain["policies"]]
    best = max(policies, key=lambda one: -(one["regret"] if one["regret"] is not None else float("inf")))
    message = f"{len(policies)} policies over {len(plain['policies'][0]['windows'])} windows: {best['policy']} is best."
    details = {
        "policies": policies,
        "baseline": _short(plain["baseline"]) if plain["baseline"] else None,
        **{name: plain[name] for name in ("pareto", "notes", "start")},
        "search": searched,
        **run,
    }
    reason = Reason(code="replayed", message=message, observed=best["mean"], n=len(policies))
    return StageResult(state=State.REPLAYED, model=setup.model, reasons=(reason,), details=details)


def _short(policy: dict[str, Any]) -> dict[str, Any]:
    """Leave out what stays in the run's ``replay.json``."""
    return {name: value for name, value in policy.items() if name not in ("windows", "decisions")}


# Search for settings of retraining: tried on the first part of history, confirmed on the part they were not tried on.


COMPARED_POLICIES = "configured,never,every"
"""Policies that the chosen settings are compared with on the part of the confirmation."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What a search tries: from where on history is kept for the confirmation, and the settings."""

    start: float
    overlays: dict[str, replay_search.Overlay]
    specs: tuple[PolicySpec, ...]


@stage_task(**SIDE_EFFECT)
def plan_search(
    context: ReplayContext, *, method: replay_search.Method, trials: int
) -> tuple[Trials, ReplayContext]:
    """Divide history and choose the settings to try; return them with the context of the first part."""
    config, beginning = context.setup.config, context.beginning
    part, start = replay_search.split_history(context.history, beginning)
    rng = np.random.default_rng(seed_for(config.model, str(start), "search"))
    window = replay_search.window_length(beginning)
    overlays = replay_search.search_space(config, method=method, trials=trials, rng=rng, window=window)
    specs = replay_search.trial_specs(overlays, config)
    named = {spec.name: overlay for spec, overlay in zip(specs, overlays, strict=True)}
    first = begin_replay(part, config, tools=beginning.tools, start=beginning.start.until)
    tried = Trials(start=start, overlays=named, specs=specs)
    return tried, ReplayContext(context.setup, part, first)


@stage_task(**SIDE_EFFECT)
def begin_confirmation(context: ReplayContext, trials: Trials) -> ReplayContext:
    """Train the first model of the part of the confirmation, as of where that begins."""
    config, tools = context.setup.config, context.beginning.tools
    beginning = begin_replay(context.history, config, tools=tools, start=trials.start)
    return ReplayContext(context.setup, context.history, beginning)


def search_policies(
    context: ReplayContext, *, method: replay_search.Method, trials: int, full: bool
) -> SearchResult:
    """Try settings on the first part of history; confirm those on the front on the part they were not tried on."""
    config = context.setup.config
    plan, first = plan_search(context, method=method, trials=trials)
    tried = run_all(first, plan.specs, full=full)
    chosen = [spec for spec in plan.specs if spec.name in tried.front()]
    unseen = begin_confirmation(context, plan)
    confirmed = run_all(unseen, [*chosen, *parse_policies(COMPARED_POLICIES, config)], full=full)
    return SearchResult(
        overlays=plan.overlays, tried=tried, confirmed=confirmed, start=plan.start, clock=config.data.clock
    )
