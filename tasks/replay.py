"""Replay: read the history, train the first model, run each policy as a task of its own, tell what came of it."""

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
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.replay.history import History
from evergreen.tasks.core.replay.results import (
    PolicyResult,
    ReplayResult,
    conclude_policy,
    conclude_replay,
    replay_persistence,
)
from evergreen.tasks.core.replay.run import replay_policy
from evergreen.tasks.core.replay.search import (
    Method,
    Overlay,
    SearchResult,
    SearchSplit,
    search_space,
    split_history,
    trial_specs,
    window_length,
)
from evergreen.tasks.core.replay.setup import PolicySpec, ReplayStart, begin_replay, parse_policies
from evergreen.tasks.core.replay.stages import Tools
from evergreen.tasks.core.reports.replay_page import replay_items, replay_markdown, replay_rows
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.validation.gate import configured_gates
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.contracts import check_contract
from evergreen.tasks.io.replay_pareto import draw_replay_page
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.runtime.publish import Artifact, Report, publish
from evergreen.tasks.runtime.sources import open_source_of
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task


class ReplayContext:
    """A history and where its replays begin; no dataclass, so that Prefect hands it on without walking through it."""

    def __init__(self, setup: Setup, history: History, beginning: ReplayStart) -> None:
        self.setup, self.history, self.beginning = setup, history, beginning


def read_policies(setup: Setup, text: str) -> tuple[PolicySpec, ...]:
    """Read the policies to compare; a wrong one is said before any row is read."""
    return parse_policies(text, setup.config)


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
    tools = replay_tools(setup, full=full)
    return ReplayContext(setup, history, begin_replay(history, config, tools=tools, start=start))


def replay_tools(setup: Setup, *, full: bool) -> Tools:
    """Return what a replay is handed from outside the core; contracts cost seconds a check, and are checked in full."""
    config = setup.config
    check = check_contract if full and config.contract.enabled else None
    return Tools(metrics=custom_metrics(config), gates=configured_gates(config), check_contract=check)


@stage_task(task_run_name="replay {spec.name}", **SIDE_EFFECT)
def replay_one(scene: ReplayContext, spec: PolicySpec, *, full: bool = False) -> PolicyResult:
    """Replay one policy, and say in the run's log how far it is."""
    return run_policy(scene.beginning, spec, full=full)


def run_policy(beginning: ReplayStart, spec: PolicySpec, *, full: bool = False) -> PolicyResult:
    """Replay one policy, reporting every tenth part."""
    logger, total = get_run_logger(), len(beginning.steps)
    steps = []
    with threadpool_limits(1):  # policies run side by side: teams of threads would wait for one another
        for step in replay_policy(beginning, spec, timer=time.thread_time, full=full):
            steps.append(step)
            if len(steps) % max(total // 10, 1) == 0 or len(steps) == total:
                logger.info("%s: window %d of %d", spec.name, len(steps), total)
    metric, clock = beginning.tools.metric(beginning.config), beginning.config.data.clock
    return conclude_policy(spec.name, steps, metric=metric, clock=clock)


def run_all(scene: ReplayContext, specs: Sequence[PolicySpec], *, full: bool) -> ReplayResult:
    """Run policies side by side, each a task; put them beside the baseline 'same as the last label'."""
    waiting = [replay_one.begin(scene, spec, full=full) for spec in specs]
    beginning = scene.beginning
    baseline = replay_persistence(beginning)
    return conclude_replay([done() for done in waiting], baseline=baseline, notes=beginning.notes)


@stage_task(**TRANSIENT)
def report_replay(
    scene: ReplayContext, result: ReplayResult, search: SearchResult | None = None
) -> StageResult:
    """Log table, page and JSON to MLflow (``<model>/retraining``), show them in Prefect, return the summary."""
    setup, beginning = scene.setup, scene.beginning
    clock = setup.config.data.clock
    plain = {
        **result.to_dict(),
        "model": setup.model,
        "clock": clock,
        "start": format_position(beginning.start.until, clock=clock),
    }
    found = search.to_dict() if search else None
    report = Report(
        setup,
        "replay",
        experiment="retraining",
        name=f"replay {len(result.policies)} policies",
        facts={"result": result},
    )
    page = partial(replay_markdown, plain)
    shown = [
        Artifact("replay-{model}", "Policies of retraining, replayed", page),
        Artifact("replay-{model}-policies", "Policies, replayed", table=replay_rows(plain)),
        Artifact("replay-{model}-run", link="The replay's page in MLflow"),
    ]
    items = replay_items(plain, draw_replay_page(plain, search=found), search=found)
    return _summary(setup.model, plain, found, publish(report, [*items, *shown]))


def _summary(
    model: str, plain: dict[str, Any], search: dict[str, Any] | None, run: dict[str, Any]
) -> StageResult:
    """Return the summary: windows and decisions of each policy stay in the run's ``replay.json``."""
    policies = [_short(one) for one in plain["policies"]]
    best = max(policies, key=lambda one: -(one["regret"] if one["regret"] is not None else float("inf")))
    message = f"{len(policies)} policies over {len(plain['policies'][0]['windows'])} windows: {best['policy']} is best."
    details = {
        "policies": policies,
        "baseline": _short(plain["baseline"]) if plain["baseline"] else None,
        "pareto": plain["pareto"],
        "notes": plain["notes"],
        "start": plain["start"],
        "search": search,
        **run,
    }
    reason = Reason(code="replayed", message=message, observed=best["mean"], n=len(policies))
    return StageResult(state=State.REPLAYED, model=model, reasons=(reason,), details=details)


def _short(policy: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in policy.items() if name not in ("windows", "decisions")}


# Search for settings of retraining: tried on the first part of history, confirmed on the part it did not see.


COMPARED_POLICIES = "configured,never,every"
"""Policies that the chosen settings are shown beside on the part that was not seen."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched: how, and how many settings are tried."""

    method: Method
    trials: int


def read_search(method: str | None, trials: int) -> Search | None:
    """Read what is to be searched; None: nothing.

    Raises
    ------
    InputError
        When the method is unknown, or nothing would be tried.
    """
    if method is None:
        return None
    if method not in ("grid", "random") or trials < 1:
        raise InputError(
            f"A search by '{method}' of {trials} trials cannot be. Allowed: grid or random, 1 or more."
        )
    return Search(method="grid" if method == "grid" else "random", trials=trials)


@dataclass(frozen=True, kw_only=True)
class Trials:
    """What a search tries: the two parts of history, the settings, and a scene for each part."""

    split: SearchSplit
    overlays: dict[str, Overlay]
    specs: tuple[PolicySpec, ...]


@stage_task(**SIDE_EFFECT)
def plan_search(scene: ReplayContext, search: Search) -> tuple[Trials, ReplayContext]:
    """Divide history and choose the settings to try; return them with the scene of the first part."""
    config, beginning = scene.setup.config, scene.beginning
    split = split_history(scene.history, beginning)
    rng = np.random.default_rng(seed_for(config.model, str(split.start), "search"))
    overlays = search_space(
        config, method=search.method, trials=search.trials, rng=rng, window=window_length(beginning)
    )
    specs = trial_specs(overlays, config)
    named = {spec.name: overlay for spec, overlay in zip(specs, overlays, strict=True)}
    first = begin_replay(split.first, config, tools=beginning.tools, start=beginning.start.until)
    trials = Trials(split=split, overlays=named, specs=specs)
    return trials, ReplayContext(scene.setup, split.first, first)


@stage_task(**SIDE_EFFECT)
def begin_confirmation(scene: ReplayContext, trials: Trials) -> ReplayContext:
    """Train the first model of the part that the search has not seen, as of where that begins."""
    config, tools = scene.setup.config, scene.beginning.tools
    beginning = begin_replay(trials.split.whole, config, tools=tools, start=trials.split.start)
    return ReplayContext(scene.setup, trials.split.whole, beginning)


def search_policies(scene: ReplayContext, search: Search, *, full: bool) -> SearchResult:
    """Try settings on the first part of history; confirm those on the front on the part it did not see."""
    trials, first = plan_search(scene, search)
    tried = run_all(first, trials.specs, full=full)
    chosen = [spec for spec in trials.specs if spec.name in tried.front()]
    unseen = begin_confirmation(scene, trials)
    confirmed = run_all(unseen, [*chosen, *read_policies(scene.setup, COMPARED_POLICIES)], full=full)
    return SearchResult(
        overlays=trials.overlays,
        tried=tried,
        confirmed=confirmed,
        start=trials.split.start,
        clock=scene.setup.config.data.clock,
    )
