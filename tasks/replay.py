"""Replay: read the history, train the first model, run each policy as a task of its own, tell what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from threadpoolctl import threadpool_limits

from tasks.core.data.clock import format_position, parse_position
from tasks.core.data.columns import needed_columns
from tasks.core.pages.replay_report import replay_items, replay_markdown, replay_rows
from tasks.core.replay.first import Beginning, begin_replay
from tasks.core.replay.history import History
from tasks.core.replay.persistence import replay_persistence
from tasks.core.replay.policies import PolicySpec, parse_policies
from tasks.core.replay.results import PolicyResult, ReplayResult, conclude_policy, conclude_replay
from tasks.core.replay.run import replay_policy
from tasks.core.replay.search import SearchResult
from tasks.core.replay.tools import Tools
from tasks.core.verdict import Reason, StageResult, State
from tasks.data import open_source_of
from tasks.io.contracts import check_contract
from tasks.io.metric_paths import custom_metrics, import_function
from tasks.io.replay_page import draw_replay_page
from tasks.io.setup import Setup
from tasks.io.tracking import open_tracker
from tasks.links import artifact_key
from tasks.retries import SIDE_EFFECT, TRANSIENT
from tasks.stage_task import stage_task


class Scene:
    """A history and where its replays begin; no dataclass, so that Prefect hands it on without walking through it."""

    def __init__(self, setup: Setup, history: History, beginning: Beginning) -> None:
        self.setup, self.history, self.beginning = setup, history, beginning


def read_policies(setup: Setup, text: str) -> tuple[PolicySpec, ...]:
    """Read the policies to compare; a wrong one is said before any row is read."""
    return parse_policies(text, setup.config)


@stage_task(**TRANSIENT)
def set_scene(
    setup: Setup, *, since: str | None = None, until: str | None = None, full: bool = False
) -> Scene:
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
    tools = tools_of(setup, full=full)
    return Scene(setup, history, begin_replay(history, config, tools=tools, start=start))


def tools_of(setup: Setup, *, full: bool) -> Tools:
    """Return what a replay is handed from outside the core; contracts cost seconds a check, and are checked in full."""
    config = setup.config
    gates = {path: import_function(path, key="validation.gates") for path in config.validation.gates}
    check = check_contract if full and config.contract.enabled else None
    return Tools(metrics=custom_metrics(config), gates=gates, check_contract=check)


@stage_task(task_run_name="replay {spec.name}", **SIDE_EFFECT)
def replay_one(scene: Scene, spec: PolicySpec, *, full: bool = False) -> PolicyResult:
    """Replay one policy, and say in the run's log how far it is."""
    return run_policy(scene.beginning, spec, full=full)


def run_policy(beginning: Beginning, spec: PolicySpec, *, full: bool = False) -> PolicyResult:
    """Replay one policy, reporting every tenth part."""
    logger, total = get_run_logger(), len(beginning.ticks)
    steps = []
    with threadpool_limits(1):  # policies run side by side: teams of threads would wait for one another
        for step in replay_policy(beginning, spec, timer=time.thread_time, full=full):
            steps.append(step)
            if len(steps) % max(total // 10, 1) == 0 or len(steps) == total:
                logger.info("%s: window %d of %d", spec.name, len(steps), total)
    metric, clock = beginning.tools.metric(beginning.config), beginning.config.data.clock
    return conclude_policy(spec.name, steps, metric=metric, clock=clock)


def run_all(scene: Scene, specs: Sequence[PolicySpec], *, full: bool) -> ReplayResult:
    """Run policies side by side, each a task; put them beside the baseline 'same as the last label'."""
    waiting = [replay_one.begin(scene, spec, full=full) for spec in specs]
    beginning = scene.beginning
    baseline = replay_persistence(beginning)
    return conclude_replay([done() for done in waiting], baseline=baseline, notes=beginning.notes)


@stage_task(**TRANSIENT)
def report_replay(scene: Scene, result: ReplayResult, search: SearchResult | None = None) -> StageResult:
    """Log table, page and JSON to MLflow (``<model>/retraining``), show them in Prefect, return the summary."""
    setup, beginning = scene.setup, scene.beginning
    clock = setup.config.data.clock
    plain = {
        **result.to_dict(), "model": setup.model, "clock": clock,
        "start": format_position(beginning.start.until, clock=clock),
    }  # fmt: skip
    found = search.to_dict() if search else None
    page = draw_replay_page(plain, search=found)
    tracker = open_tracker(setup.stores)
    name = f"replay {len(result.policies)} policies"
    with tracker.run(setup.model, "retraining", name=name, tags={"evergreen.stage": "replay"}) as run_id:
        tracker.write_items(run_id, replay_items(plain, page, search=found))
    url = tracker.run_url(run_id)
    _show(setup.model, plain, url)
    return _told(setup.model, plain, found, run_id, url)


def _show(model: str, plain: dict[str, Any], url: str | None) -> None:
    key = artifact_key("replay", model)
    create_markdown_artifact(
        replay_markdown(plain, run_url=url), key=key, description="Policies of retraining, replayed"
    )
    create_table_artifact(replay_rows(plain), key=f"{key}-policies", description="Policies, replayed")
    if url:
        create_link_artifact(url, key=f"{key}-run", link_text="The replay's page in MLflow")


def _told(
    model: str, plain: dict[str, Any], search: dict[str, Any] | None, run_id: str, url: str | None
) -> StageResult:
    """Return the summary: windows and decisions of each policy stay in the run's ``replay.json``."""
    policies = [_short(one) for one in plain["policies"]]
    best = max(policies, key=lambda one: -(one["regret"] if one["regret"] is not None else float("inf")))
    message = f"{len(policies)} policies over {len(plain['policies'][0]['windows'])} windows: {best['policy']} is best."
    details = {
        "policies": policies, "baseline": _short(plain["baseline"]) if plain["baseline"] else None,
        "pareto": plain["pareto"], "notes": plain["notes"], "start": plain["start"], "search": search,
        "run_id": run_id, "run_url": url,
    }  # fmt: skip
    reason = Reason(code="replayed", message=message, observed=best["mean"], n=len(policies))
    return StageResult(state=State.REPLAYED, model=model, reasons=(reason,), details=details)


def _short(policy: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in policy.items() if name not in ("windows", "decisions")}
