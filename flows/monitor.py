"""Watch the champion: what drifted in the newest windows, and what it did to the metric."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.alert import deliver_alerts
from tasks.core.verdict import StageResult
from tasks.fleet import conclude_fleet, fleet_models, visit
from tasks.guard import post_guard
from tasks.io.clock import utc_now
from tasks.io.setup import open_setup
from tasks.monitor import look_at_windows, read_question
from tasks.monitor_result import Run, conclude_run, health_of, keep_history, tell_run, with_alerts
from tasks.outcomes import concluded
from tasks.parameters import DryRun, LookBack, ModelName, ModelNames, Until


@flow(name="monitor", flow_run_name="monitor-{model}", persist_result=False)
@concluded("monitor")
def monitor(
    model: ModelName, since: LookBack = None, until: Until = None, dry_run: DryRun = False
) -> StageResult:
    """Look at every window that is due, each once; raise, worsen and resolve alarms; tell whom it concerns."""
    setup, started = open_setup(model), utc_now()
    asked = read_question(setup, since=since, until=until, dry_run=dry_run)
    guard = post_guard(setup)
    looks = {phase: look_at_windows(setup, guard, asked, phase) for phase in guard.phases}
    run = Run(asked=asked, guard=guard, looks=looks)
    health = health_of(setup, run, started=started) if asked.records else None
    told = deliver_alerts(setup) if asked.records else []
    result = with_alerts(tell_run(setup, run, conclude_run(setup, run, health)), told)
    if asked.records:
        keep_history(setup, run)
    return result


@flow(name="monitor-fleet", persist_result=False)
def monitor_fleet(models: ModelNames = None) -> State:
    """Watch every configured model, or those named, one after the other; one that fails stops no other."""
    return conclude_fleet([visit(monitor, model) for model in fleet_models(models)])
