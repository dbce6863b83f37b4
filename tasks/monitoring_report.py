"""How a monitoring run ends: health, result, report, and which profiles of windows are stored on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
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
from evergreen.tasks.core.reports import monitoring as pages
from evergreen.tasks.core.reports.monitored_model import MonitoredModel
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.verdict import Reason, StageResult
from evergreen.tasks.health import HealthFacts, check_health, measure_health
from evergreen.tasks.io.alerts import has_news
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

MIN_STORED_WINDOWS = 100
"""Newest windows of a phase, whose profiles are stored however old they are."""
MAX_SHOWN_WINDOWS = 300
"""Windows on a page."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MonitorRun:
    """All that a run has checked."""

    request: MonitorRequest
    monitor: RegisteredMonitor
    phases: Mapping[Phase, PhaseResults]

    @property
    def inputs(self) -> PhaseResults:
        """The result as soon as windows were full."""
        return self.phases[Phase.INPUTS]


def health_of(setup: Setup, run: MonitorRun) -> HealthReport | None:
    """Check the machinery; None where nothing is recorded."""
    return check_health(setup, health_facts(run)) if run.request.records else None


def health_facts(run: MonitorRun) -> HealthFacts:
    """Return what a run knows of the feed and the champion, as of the moment it was asked for, if at any."""
    request, rows = run.request, run.inputs.newest_rows
    at_present = math.isfinite(request.now) and not math.isfinite(request.until) and not request.is_recheck
    return HealthFacts(
        started=request.started,
        newest=run.inputs.due.newest,
        as_of=request.now if at_present else None,
        champion=run.monitor.model,
        past=run.monitor.past,
        rows=None if rows is None or run.monitor.concealed else rows.frame,
    )


def conclude_run(setup: Setup, run: MonitorRun, health: HealthReport | None) -> StageResult:
    """Return how a run ends; where no window was due, the newest ones known still hold."""
    request, prepared, due = run.request, run.monitor, run.inputs.due
    windows = merge_results(result for phase in run.phases.values() for result in phase.results)
    result = conclude_monitoring(
        setup.model,
        windows if request.is_recheck or windows else _newest_windows(setup, run),
        version=run.monitor.version,
        open_alarms=None if request.is_recheck else open_alarms(run),
        fresh=bool(windows),
        notes=(*due.reasons, *prepared.notes, *(health.reasons if health else ())),
        details={"remaining": due.remaining, "health": health.to_dict() if health else None},
    )
    details = {**result.details, "windows": windows, "looked_back": request.is_recheck}
    if not request.records:
        return replace(result, details={**details, "dry_run": True})
    ids = [phase.decision_id for phase in run.phases.values() if phase.decision_id]
    return replace(result, details=details, decision_id=ids[0] if ids else None)


def open_alarms(run: MonitorRun) -> list[dict[str, Any]]:
    """Return the alarms that are open after the newest windows."""
    return [
        {
            "kind": alarm.kind.value,
            "column": alarm.column,
            "signal": alarm.signal,
            "effect": alarm.reported,
            "since": format_position(alarm.since, clock=run.monitor.clock),
        }
        for phase in run.phases.values()
        for alarm in phase.state.alarms
    ]


def report_run(
    setup: Setup, run: MonitorRun, result: StageResult, *, alerts: Sequence[Reason] = ()
) -> StageResult:
    """Report a run; return its result with the address of its pages, and what became of alerts."""
    windows = result.details["windows"]
    if windows:
        watched = MonitoredModel.after(
            result,
            config=setup.config,
            windows=windows if run.request.is_recheck else _with_history(setup, run, windows),
            promotions=promotions(setup),
            profiles=_profiles(run),
            limits=run.monitor.limits(),
        )
        url = report_monitoring(setup, watched, result, sample=_sample(setup, run))
        result = replace(result, details={**result.details, "run_url": url})
    return replace(result, reasons=(*result.reasons, *alerts))


@stage_task(**TRANSIENT)
def report_monitoring(
    setup: Setup, watched: MonitoredModel, result: StageResult, *, sample: Mapping[str, Any] | None = None
) -> str | None:
    """Log both pages to MLflow (``<model>/monitoring``) and show them in Prefect; return where they are.

    Parameters
    ----------
    watched : MonitoredModel
        What the pages show: the run's windows, with older ones where they are stored.
    result : StageResult
        The run's result.
    sample : mapping, optional
        Rows of the newest window (`evergreen.tasks.core.reports.monitoring.draw_sample`); without it there is no
        Evidently page.
    """
    evidently = compare_samples(setup, result, sample)
    name, facts = f"monitor-{result.state.value.lower()}", {"watched": watched, "result": result}
    report = Report(setup, "monitor", name=name, tags={"evergreen.stage": "monitoring"}, facts=facts)
    page = partial(pages.monitoring_markdown, watched, notes=evidently.reasons)
    items = [
        *pages.monitoring_items(watched, result, evidently=evidently.html),
        Artifact("monitor-{model}", "What drifted", page),
        Artifact("moved-{model}", "Columns that moved", table=pages.moved_rows(watched)),
        Artifact("drift-pages-{model}", link="Drift pages in MLflow"),
    ]
    url: str | None = publish(report, items)["run_url"]
    return url


def compare_samples(setup: Setup, result: StageResult, sample: Mapping[str, Any] | None) -> EvidentlyPage:
    """Draw Evidently's page, unless it is switched off or there is nothing to draw it from."""
    if not setup.config.monitoring.report_rows:
        message = "Evidently's page is switched off (monitoring.report_rows: 0)."
        return EvidentlyPage(reasons=(Reason(code="switched_off", message=message),))
    if sample is None or result.version is None:
        message = "No Evidently page: there was no window with rows to draw it from."
        return EvidentlyPage(reasons=(Reason(code="no_rows", message=message),))
    reference = read_sample(setup, result.version)
    return draw_evidently_page(reference, sample, private=frozenset(setup.config.data.private))


@stage_task(**SIDE_EFFECT)
def keep_history(setup: Setup, run: MonitorRun, *, least: int = MIN_STORED_WINDOWS) -> int:
    """Delete profiles of windows older than ``monitoring.history``; return how many. A phase's newest ones stay.

    Parameters
    ----------
    setup : Setup
        The model.
    run : MonitorRun
        Results of the run.
    least : int
        Windows of each phase that stay, however old.
    """
    newest, length = run.inputs.due.newest, setup.config.monitoring.history.amount
    log, read = setup.stores.log, setup.stores.ledger.read_tail
    names = [stream_of(setup, run.monitor, phase).name for phase in run.phases]
    tails = [read(setup.model, name, least) for name in names]
    if not run.request.records or newest is None or len(tails[0]) < least:
        return 0
    stored = [tail[0] for tail in tails if tail]
    if run.monitor.clock != "rows":
        oldest = min(float(entry.payload["start"]) for entry in stored)
        return log.purge_windows(setup.model, before=min(oldest, newest - length))
    limit = utc_now() - timedelta(seconds=length)
    return log.purge_windows(setup.model, written_before=min(limit, *(entry.at for entry in stored)))


def promotions(setup: Setup) -> list[dict[str, Any]]:
    """Return the champions, each at the end of its training rows: a position on the model's own clock."""
    versions = setup.stores.registry.versions(setup.model)
    trained_to = {info.version: info.tags.get("evergreen.trained_to") for info in versions}
    entries = setup.stores.ledger.read(model=setup.model, stream=PLANS)
    return [
        {"version": period.version, "at": trained_to[period.version], "kind": period.how}
        for period in champion_periods(entries)
        if trained_to.get(period.version)
    ]


def _newest_windows(setup: Setup, run: MonitorRun) -> list[dict[str, Any]]:
    ledger, model = setup.stores.ledger, setup.model
    newest = [ledger.last(model, stream_of(setup, run.monitor, phase).name) for phase in Phase]
    return merge_results(entry.payload for entry in newest if entry)


def _with_history(setup: Setup, run: MonitorRun, windows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the run's windows after the older ones that the log still has."""
    if not run.request.records:
        return windows
    streams = [stream_of(setup, run.monitor, phase) for phase in Phase]
    stored = merge_results(result for stream in streams for result in stream.results(since=-math.inf))
    return stored[-MAX_SHOWN_WINDOWS:]


def _profiles(run: MonitorRun) -> tuple[tuple[Profile, Profile], ...]:
    """Return the newest window's profiles beside the reference's."""
    check, reference = run.inputs.newest_check, run.monitor.reference
    if check is None:
        return ()
    pairs = ((reference.inputs, "inputs"), (reference.answers, "answers"))
    return tuple((before, check.profiles[name]) for before, name in pairs if name in check.profiles)


def _sample(setup: Setup, run: MonitorRun) -> dict[str, Any] | None:
    rows = run.inputs.newest_rows
    if rows is None or not setup.config.monitoring.report_rows:
        return None
    rng = np.random.default_rng(seed_for(setup.model, str(run.monitor.version), "sample"))
    try:
        return pages.draw_sample(rows.frame, schema=run.monitor.model.schema, config=setup.config, rng=rng)
    except DataError:  # the window was unreadable, and its verdict says so
        return None


# The run that has nothing to do: decided and recorded by the same functions, without Prefect and MLflow's client.


def answer_without_run(
    setup: Setup, *, since: str | None, until: str | None, dry_run: bool
) -> StageResult | None:
    """Return how a run ends that finds no window due and nothing new to report, recorded as it would record it.

    None where a run has something to do or to report: what is due, what went wrong and all alerts are left to it.
    Call it where a Prefect server answers: the run would check that too.
    """
    try:
        request = read_monitor_request(setup, since=since, until=until, dry_run=dry_run)
        run = None if request.is_recheck else _idle_run(setup, request)
    except Exception:  # whatever went wrong, the run itself fails by it as well and shows it in Prefect
        return None
    if run is None:
        return None
    health = None
    if request.records:
        version, health = measure_health(setup, health_facts(run), ask_prefect=lambda: None)
        if has_news(setup, health, version=version) or not everything_delivered(setup):
            return None
    result = conclude_run(setup, run, health)
    if not request.records:
        return result
    keep_history.fn(setup, run)
    return result if result.decision_id else record_decision(setup, "monitor", result)


def _idle_run(setup: Setup, request: MonitorRequest) -> MonitorRun | None:
    """Return the run in which no phase has a window due; None where one has."""
    monitored, phases = load_monitor.fn(setup), {}
    for phase in monitored.phases:
        results = find_nothing_due(setup, monitored, request, phase)
        if results is None:
            return None
        phases[phase] = results
    return MonitorRun(request=request, monitor=monitored, phases=phases)
