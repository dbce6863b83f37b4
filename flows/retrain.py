"""Retrain a model: one at a time, under a cooldown, for a reason; train, validate, challenge, promote or keep."""

from __future__ import annotations

from prefect import flow

from evergreen.flows.challenge import challenge
from evergreen.flows.train import train
from evergreen.flows.validate import validate
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.retraining_request import read_request
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.retraining import (
    TRAIN,
    VALIDATE,
    RetrainingRun,
    gather_causes,
    report_retraining,
    run_claimed,
)
from evergreen.tasks.runtime.parameters import AsOf, DryRun, Force, ForceReason, ModelName, Trigger
from evergreen.tasks.runtime.result import concluded


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
    """Retrain if something asks and nothing holds it; who else asks meanwhile, or too soon, is Blocked."""
    setup = open_setup(model)
    request = read_request(setup, trigger=trigger, force=force, reason=reason, until=until, dry_run=dry_run)
    asked = gather_causes(setup, request)
    return report_retraining(setup, run_claimed(setup, request, asked, run_stages))


def run_stages(walk: RetrainingRun) -> StageResult:
    """Train, pass the gate, meet the champion; the first stage that says no is the end."""
    until = walk.attempt.until
    trained = walk.stage(TRAIN, train, until=until, trigger=walk.trigger, since=walk.since)
    if trained.state is not State.TRAINED:
        return trained
    approved = walk.stage(VALIDATE, validate, version=trained.version)
    if approved.state is not State.APPROVED:
        return approved
    return walk.challenge(challenge, until=until)
