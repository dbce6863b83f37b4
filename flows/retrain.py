"""Retrain a model: one at a time, under a cooldown, for a reason; train, validate, challenge, promote or keep."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow

from evergreen.flows.challenge import challenge
from evergreen.flows.train import train
from evergreen.flows.validate import validate
from evergreen.tasks import retraining
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.retraining import read_request
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.parameters import AsOf, DryRun, Force, ForceReason, ModelName, Trigger
from evergreen.tasks.runtime.result import Schedule, concluded


@flow(name="retrain", flow_run_name="retrain-{model}", persist_result=False)
@concluded("retrain")
def retrain(
    model: ModelName,
    trigger: Trigger = "manual",
    force: Force = False,
    reason: ForceReason = None,
    until: AsOf = None,
    dry_run: DryRun = False,
) -> StageResult:
    """Retrain if there is a cause and nothing holds it; another request meanwhile, or too soon, is Blocked."""
    setup = open_setup(model)
    request = read_request(setup, trigger=trigger, force=force, reason=reason, until=until, dry_run=dry_run)
    causes = retraining.gather_causes(setup, request)
    return retraining.report_retraining(setup, retraining.run_claimed(setup, request, causes, run_stages))


def run_stages(run: retraining.RetrainingRun) -> StageResult:
    """Train, validate, challenge; the first stage that does not succeed is the end."""
    until = run.attempt.until
    trained = run.stage(retraining.TRAIN, train, until=until, trigger=run.trigger, since=run.since)
    if trained.state is not State.TRAINED:
        return trained
    approved = run.stage(retraining.VALIDATE, validate, version=trained.version)
    if approved.state is not State.APPROVED:
        return approved
    return run.challenge(challenge, until=until)


def schedule(config: ModelConfig) -> Schedule:
    """Check daily, or every ``retraining.every`` if that is shorter, what is due: most runs end Blocked."""
    every, often = config.retraining.every, timedelta(days=1)
    if every.unit == "seconds" and every.amount:
        often = min(often, timedelta(seconds=every.amount))
    active = config.retraining.run_mode != "disabled"
    return Schedule(every=often, active=active, parameters={"trigger": "schedule"})
