"""How a monitoring run ends: its result, what is told of it, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import numpy as np

from evergreen.tasks.alerts import everything_delivered
from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.core.health.checks import HealthReport
from evergreen.tasks.core.monitoring.window_result import conclude_monitoring, merge_results
from evergreen.tasks.core.profiles.profile import Profile
from evergreen.tasks.core.promotion.history import PLANS, champion_periods
from evergreen.tasks.core.reports.monitored_model import MonitoredModel
from evergreen.tasks.core.reports.monitoring import (
    draw_sample,
    monitoring_items,
    monitoring_markdown,
    moved_rows,
)
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.verdict import Reason, StageResult
from evergreen.tasks.health import HealthFacts, check_health, measure_health
from evergreen.tasks.io.alerts import tells_news
from evergreen.tasks.io.evidently import EvidentlyPage, draw_evidently_page, read_sample
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup, record_decision
from evergreen.tasks.monitoring import (
    MonitorRequest,
    PhaseResults,
    RegisteredMonitor,
    find_nothing_due,
    load_monitor,
    read_monitor_request,
    stream_of,
)
from evergreen.tasks.runtime.publish import Artifact, Report, publish
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task

# Show what monitoring saw: pages and numbers in MLflow, a summary, a table and a link in Prefect.


@stage_task(**TRANSIENT)
def report_monitoring(
    setup: Setup, watched: MonitoredModel, result: StageResult, *, sample: Mapping[str, Any] | None = None
) -> str | None:
    """Log both pages to MLflow (``<model>/monitoring``) and show them in Prefect; return where they are.

    Parameters
    ----------
    watched : Watched
        What is told: the run's windows, with older ones where they are at hand.
    result : StageResult
        The run's result.
    sample : mapping, optional
        Rows of the newest window (`evergreen.tasks.core.reports.monitoring.draw_sample`); without it there is no
        Evidently page.
    """
    evidently = compare_samples(setup, result, sample)
    report = Report(
        setup,
        "monitor",
        experiment="monitoring",
        name=f"monitor-{result.state.value.lower()}",
        tags={"evergreen.stage": "monitoring"},
        facts={"watched": watched, "result": result},
    )
    page = partial(monitoring_markdown, watched, notes=evidently.reasons)
    shown = [
        Artifact("monitor-{model}", "What drifted", page),
        Artifact("moved-{model}", "Columns that moved", table=moved_rows(watched)),
        Artifact("drift-pages-{model}", link="Drift pages in MLflow"),
    ]
    items = monitoring_items(watched, result, evidently=evidently.html)
    url: str | None = publish(report, [*items, *shown])["run_url"]
    return url


def compare_samples(setup: Setup, result: StageResult, sample: Mapping[str, Any] | None) -> EvidentlyPage:
    """Draw Evidently's page, unless it is switched off or there is nothing to draw it from."""
    if not setup.config.monitoring.report_rows:
        said = "Evidently's page is switched off (monitoring.report_rows: 0)."
        return EvidentlyPage(reasons=(Reason(code="switched_off", message=said),))
    if sample is None or result.version is None:
        said = "No Evidently page: there was no window with rows to draw it from."
        return EvidentlyPage(reasons=(Reason(code="no_rows", message=said),))
    reference = read_sample(setup, result.version)
    return draw_evidently_page(reference, sample, private=frozenset(setup.config.data.private))


MIN_STORED_WINDOWS, MAX_SHOWN_WINDOWS = 100, 300
"""Windows whose profiles are kept however old they are; windows a page shows."""
_INPUTS, _ANSWERS = "inputs", "answers"


@dataclass(frozen=True, kw_only=True, eq=False)
class MonitorRun:
    """All that a run has looked at."""

    asked: MonitorRequest
    guard: RegisteredMonitor
    looks: Mapping[Phase, PhaseResults]

    @property
    def inputs(self) -> PhaseResults:
        """The looks as soon as windows were full."""
        return self.looks[Phase.INPUTS]


def health_of(setup: Setup, run: MonitorRun, *, started: datetime) -> HealthReport:
    """Check the machinery; silence is judged at the moment the run was asked for, if at any."""
    return check_health(setup, health_facts(run, started=started))


def health_facts(run: MonitorRun, *, started: datetime) -> HealthFacts:
    """Return what a run that began at a moment knows of the feed and the champion."""
    asked, rows = run.asked, run.inputs.newest
    tells_time = math.isfinite(asked.now) and not math.isfinite(asked.until) and not asked.looks_back
    return HealthFacts(
        started=started,
        newest=run.inputs.due.newest,
        as_of=asked.now if tells_time else None,
        champion=run.guard.model,
        past=run.guard.past,
        rows=None if rows is None or run.guard.watch.concealed else rows.frame,
    )


def conclude_run(setup: Setup, run: MonitorRun, health: HealthReport | None) -> StageResult:
    """Return how a run ends."""
    clock = run.guard.watch.clock
    windows = merge_results(look for looks in run.looks.values() for look in looks.looks)
    due = run.inputs.due
    result = conclude_monitoring(
        setup.model,
        windows if run.asked.looks_back or windows else _newest_windows(setup, run),
        version=run.guard.version,
        open_alarms=None if run.asked.looks_back else open_alarms(run.looks.values(), clock=clock),
        fresh=bool(windows),
        notes=(*due.reasons, *run.guard.watch.notes, *(health.reasons if health else ())),
        details={"remaining": due.remaining, "health": health.to_dict() if health else None},
    )
    result = replace(
        result, details={**result.details, "windows": windows, "looked_back": run.asked.looks_back}
    )
    if not run.asked.records:
        return replace(result, details={**result.details, "dry_run": True})
    ids = [looks.decision_id for looks in run.looks.values() if looks.decision_id]
    return replace(result, decision_id=ids[0] if ids else None)


def open_alarms(several: Sequence[PhaseResults] | Any, *, clock: str) -> list[dict[str, Any]]:
    """Return the alarms that are open after the newest looks."""
    return [
        {
            "kind": alarm.kind.value,
            "column": alarm.column,
            "signal": alarm.signal,
            "effect": alarm.reported,
            "since": format_position(alarm.since, clock=clock),
        }
        for looks in several
        for alarm in looks.memory.alarms
    ]


def report_run(setup: Setup, run: MonitorRun, result: StageResult) -> StageResult:
    """Show a run in Prefect and MLflow; return the result with the address of its pages."""
    windows = result.details["windows"]
    if not windows:
        return result
    told = MonitoredModel.after(
        result,
        config=setup.config,
        windows=windows if run.asked.looks_back else _with_history(setup, run, windows),
        promotions=promotions(setup),
        profiles=_profiles(run),
        limits=run.guard.watch.limits(),
    )
    url = report_monitoring(setup, told, result, sample=_sample(setup, run))
    return replace(result, details={**result.details, "run_url": url})


def with_alerts(result: StageResult, told: Sequence[Reason]) -> StageResult:
    """Return the result with what was delivered, and what could not be."""
    return replace(result, reasons=(*result.reasons, *told))


@stage_task(**SIDE_EFFECT)
def keep_history(setup: Setup, run: MonitorRun, *, least: int = MIN_STORED_WINDOWS) -> int:
    """Delete profiles of windows older than ``monitoring.history``; return how many. A phase's newest ones stay.

    Parameters
    ----------
    setup : Setup
        The model.
    run : MonitorRun
        What the run found.
    least : int
        Windows of each phase that stay, however old.
    """
    newest, length = run.inputs.due.newest, setup.config.monitoring.history.amount
    read = setup.stores.ledger.read_tail
    tails = [read(setup.model, stream_of(setup, run.guard, phase).name, least) for phase in run.looks]
    kept = [tail[0] for tail in tails if tail]
    if not run.asked.records or newest is None or len(tails[0]) < least:
        return 0
    oldest = min(float(entry.payload["start"]) for entry in kept)
    if run.guard.watch.clock != "rows":
        return setup.stores.log.purge_windows(setup.model, before=min(oldest, newest - length))
    passed = utc_now() - timedelta(seconds=length)
    return setup.stores.log.purge_windows(
        setup.model, written_before=min(passed, *(entry.at for entry in kept))
    )


def promotions(setup: Setup) -> list[dict[str, Any]]:
    """Return who came to the throne, each at the end of what it had learned: a place on the model's own clock."""
    told = {
        info.version: info.tags.get("evergreen.trained_to")
        for info in setup.stores.registry.versions(setup.model)
    }
    entries = setup.stores.ledger.read(model=setup.model, stream=PLANS)
    return [
        {"version": reign.version, "at": told[reign.version], "kind": reign.how}
        for reign in champion_periods(entries)
        if told.get(reign.version)
    ]


def _newest_windows(setup: Setup, run: MonitorRun) -> list[dict[str, Any]]:
    """Return the newest windows known, where this run had none to look at: their state still holds."""
    newest = [
        entry.payload
        for phase in Phase
        if (entry := setup.stores.ledger.last(setup.model, stream_of(setup, run.guard, phase).name))
    ]
    return merge_results(newest)


def _with_history(setup: Setup, run: MonitorRun, windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the run's windows after the older ones that the log still has."""
    if not run.asked.records:
        return windows
    streams = [stream_of(setup, run.guard, phase) for phase in Phase]
    known = merge_results(look for stream in streams for look in stream.looks(since=-math.inf))
    return known[-MAX_SHOWN_WINDOWS:]


def _profiles(run: MonitorRun) -> tuple[tuple[Profile, Profile], ...]:
    """Return the newest window's profiles beside the reference's."""
    seen, reference = run.inputs.seen, run.guard.watch.reference
    if seen is None:
        return ()
    pairs = ((reference.inputs, _INPUTS), (reference.answers, _ANSWERS))
    return tuple((known, seen.profiles[name]) for known, name in pairs if name in seen.profiles)


def _sample(setup: Setup, run: MonitorRun) -> dict[str, Any] | None:
    rows = run.inputs.newest
    if rows is None or not setup.config.monitoring.report_rows:
        return None
    rng = np.random.default_rng(seed_for(setup.model, str(run.guard.version), "sample"))
    try:
        return draw_sample(rows.frame, schema=run.guard.model.schema, config=setup.config, rng=rng)
    except DataError:  # the window was unreadable, and its verdict says so
        return None


# The run that has nothing to do: decided and recorded by the same functions, without Prefect and MLflow's client.


def answer_without_run(
    setup: Setup, *, since: str | None, until: str | None, dry_run: bool
) -> StageResult | None:
    """Return how a run ends that finds no window due and nothing new to tell, recorded as it would record it.

    None where a run has something to do, or to say: what is due, what went wrong, and all that is told is left to it.
    To be asked where a Prefect server answers: the run would check that too.
    """
    started = utc_now()
    try:
        asked = read_monitor_request(setup, since=since, until=until, dry_run=dry_run)
        run = None if asked.looks_back else _idle_run(setup, asked)
    except Exception:  # whatever went wrong, the run meets it again, fails by it and shows it in Prefect
        return None
    if run is None:
        return None
    health = None
    if asked.records:
        version, health = measure_health(setup, health_facts(run, started=started), ask_prefect=lambda: None)
        if tells_news(setup, health, version=version) or not everything_delivered(setup):
            return None
    result = conclude_run(setup, run, health)
    if not asked.records:
        return result
    keep_history.fn(setup, run)
    return result if result.decision_id else record_decision(setup, "monitor", result)


def _idle_run(setup: Setup, asked: MonitorRequest) -> MonitorRun | None:
    """Return the run in which no phase has a window due; None where one has."""
    guard, looks = load_monitor.fn(setup), {}
    for phase in guard.phases:
        found = find_nothing_due(setup, guard, asked, phase)
        if found is None:
            return None
        looks[phase] = found
    return MonitorRun(asked=asked, guard=guard, looks=looks)
