"""Monitor the champion: what drifted in the newest windows, and what it did to the metric."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow
from prefect.client.schemas.objects import State

from evergreen.tasks import monitoring, monitoring_report
from evergreen.tasks.alerts import deliver_alerts
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.parameters import DryRun, ModelName, ModelNames, RecheckFrom, Until
from evergreen.tasks.runtime.result import Schedule, concluded


@flow(name="monitor", flow_run_name="monitor-{model}", persist_result=False)
@concluded("monitor")
def monitor(
    model: ModelName, since: RecheckFrom = None, until: Until = None, dry_run: DryRun = False
) -> StageResult:
    """Check every window that is due, each once; raise, worsen and resolve alarms; alert whom they concern."""
    setup = open_setup(model)
    request = monitoring.read_monitor_request(setup, since=since, until=until, dry_run=dry_run)
    monitored = monitoring.load_monitor(setup)
    phases = {
        phase: monitoring.check_due_windows(setup, monitored, request, phase) for phase in monitored.phases
    }
    run = monitoring_report.MonitorRun(request=request, monitor=monitored, phases=phases)
    health = monitoring_report.health_of(setup, run)
    alerts = deliver_alerts(setup) if request.records else []
    result = monitoring_report.conclude_run(setup, run, health)
    result = monitoring_report.report_run(setup, run, result, alerts=alerts)
    if request.records:
        monitoring_report.keep_history(setup, run)
    return result


@flow(name="monitor-fleet", persist_result=False)
def monitor_fleet(models: ModelNames = None) -> State:
    """Monitor every configured model, or those named, one after the other; one that fails stops no other."""
    return monitoring.conclude_fleet(
        [monitoring.visit(monitor, model) for model in monitoring.fleet_models(models)]
    )


def schedule(config: ModelConfig) -> Schedule:
    """Run every ``monitoring.interval``; off where ``monitoring.run_mode`` is disabled."""
    every = timedelta(seconds=config.monitoring.interval.amount)
    return Schedule(every=every, active=config.monitoring.run_mode != "disabled")
