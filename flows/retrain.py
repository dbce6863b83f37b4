"""Retrain a model: one at a time, under a cooldown, for a reason; train, validate, challenge, promote or keep."""

from __future__ import annotations

from prefect import flow

from flows.challenge import challenge
from flows.train import train
from flows.validate import validate
from tasks.core.verdict import StageResult, State
from tasks.io.setup import open_setup
from tasks.outcomes import concluded
from tasks.parameters import AsOf, DryRun, Force, ModelName, Trigger, WhyForced
from tasks.retrain import gather_causes, read_request, report_retraining, under_claim
from tasks.retrain_walk import TRAIN, VALIDATE, Walk


@flow(name="retrain", flow_run_name="retrain-{model}", persist_result=False)
@concluded("retrain")
def retrain(
    model: ModelName,
    trigger: Trigger = "manual",
    force: Force = False,
    reason: WhyForced = None,
    until: AsOf = None,
    dry_run: DryRun = False,
) -> StageResult:
    """Retrain if something asks and nothing holds it; who else asks meanwhile, or too soon, is Held."""
    setup = open_setup(model)
    request = read_request(setup, trigger=trigger, force=force, reason=reason, until=until, dry_run=dry_run)
    asked = gather_causes(setup, request)
    return report_retraining(setup, under_claim(setup, request, asked, stages))


def stages(walk: Walk) -> StageResult:
    """Train, pass the gate, meet the champion; the first stage that says no is the end."""
    until = walk.attempt.until
    trained = walk.stage(TRAIN, train, until=until, trigger=walk.trigger, since=walk.since)
    if trained.state is not State.TRAINED:
        return trained
    approved = walk.stage(VALIDATE, validate, version=trained.version)
    if approved.state is not State.APPROVED:
        return approved
    return walk.challenge(challenge, until=until)
