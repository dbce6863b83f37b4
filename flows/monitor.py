"""Watch the champion: what drifted in the newest windows, and what it did to the metric."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from evergreen.tasks.alerts import deliver_alerts
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.monitoring import (
    check_due_windows,
    conclude_fleet,
    fleet_models,
    load_monitor,
    read_monitor_request,
    visit,
)
from evergreen.tasks.monitoring_report import (
    MonitorRun,
    conclude_run,
    health_of,
    keep_history,
    report_run,
    with_alerts,
)
from evergreen.tasks.runtime.parameters import DryRun, ModelName, ModelNames, RecheckFrom, Until
from evergreen.tasks.runtime.result import concluded


@flow(name="monitor", flow_run_name="monitor-{model}", persist_result=False)
@concluded("monitor")
def monitor(
    model: ModelName, since: RecheckFrom = None, until: Until = None, dry_run: DryRun = False
) -> StageResult:
    """Look at every window that is due, each once; raise, worsen and resolve alarms; tell whom it concerns."""
    setup, started = open_setup(model), utc_now()
    asked = read_monitor_request(setup, since=since, until=until, dry_run=dry_run)
    guard = load_monitor(setup)
    looks = {phase: check_due_windows(setup, guard, asked, phase) for phase in guard.phases}
    run = MonitorRun(asked=asked, guard=guard, looks=looks)
    health = health_of(setup, run, started=started) if asked.records else None
    told = deliver_alerts(setup) if asked.records else []
    result = with_alerts(report_run(setup, run, conclude_run(setup, run, health)), told)
    if asked.records:
        keep_history(setup, run)
    return result


@flow(name="monitor-fleet", persist_result=False)
def monitor_fleet(models: ModelNames = None) -> State:
    """Watch every configured model, or those named, one after the other; one that fails stops no other."""
    return conclude_fleet([visit(monitor, model) for model in fleet_models(models)])
