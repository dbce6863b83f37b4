"""Retrain a model: gather the causes, decide and claim, run the stages, close the claim."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import State as PrefectState

from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.promotion.plan import CHALLENGER, CHAMPION
from evergreen.tasks.core.retraining import report
from evergreen.tasks.core.retraining.decide import decide_retrain
from evergreen.tasks.core.retraining.history import Attempt
from evergreen.tasks.core.retraining.types import MANUAL, Moment, RetrainingRequest, retrain_policy
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.data import open_source_of
from evergreen.tasks.io.retraining import (
    Request,
    RetrainingClaim,
    await_claim,
    read_causes,
    read_history,
    take_claim,
)
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.runtime.events import announce_retraining
from evergreen.tasks.runtime.publish import Artifact, show
from evergreen.tasks.runtime.task import TRANSIENT, stage_task

TRAIN, VALIDATE, CHALLENGE = "train", "validate", "challenge"


@dataclass(kw_only=True)
class RetrainingRun:
    """A claimed retraining: each stage is a subflow, recorded before the next begins."""

    setup: Setup
    claim: RetrainingClaim
    attempt: Attempt
    """What was claimed, with the stages that are done."""

    @property
    def version(self) -> int | None:
        """The version that was trained; None before."""
        return self.attempt.stages.get(TRAIN, {}).get("version")

    @property
    def trigger(self) -> str:
        """The trigger of the first cause."""
        return self.attempt.causes[0].trigger if self.attempt.causes else MANUAL

    @property
    def since(self) -> str | None:
        """The newest change, as text on the model's clock."""
        change_at, clock = self.attempt.change_at, self.setup.config.data.clock
        return None if change_at is None else format_position(change_at, clock=clock)

    def stage(self, name: str, flow: Callable[..., PrefectState], **options: Any) -> StageResult:
        """Run a stage as a subflow and record it; one that is recorded already is not run again.

        Raises
        ------
        Exception
            What the stage failed with.
        """
        done = self.attempt.stages.get(name)
        if done is not None:
            message = f"The stage '{name}' was done before a crash; it ended {done['state']}."
            return StageResult(
                state=State(done["state"]),
                model=self.setup.model,
                version=done["version"],
                decision_id=done["decision_id"],
                reasons=(Reason(code="resumed", message=message),),
            )
        state = flow(model=str(self.setup.path), **options, return_state=True)
        result = dict(state.result())
        self.attempt = self.claim.note(self.attempt, name, result)
        return StageResult.from_dict(result)

    def challenge(self, flow: Callable[..., PrefectState], **options: Any) -> StageResult:
        """Run the challenge of the version that was trained; Blocked where another became challenger meanwhile."""
        model, version = self.setup.model, self.version
        holder = self.setup.stores.registry.aliases(model).get(CHALLENGER)
        if CHALLENGE in self.attempt.stages or holder == version:
            return self.stage(CHALLENGE, flow, **options)
        message = (
            f"@challenger is {holder or 'absent'}, not version {version} of this retraining: another process moved it "
            "meanwhile. Nothing was challenged."
        )
        moved = Reason(code="challenger_moved", message=message, observed=str(holder), limit=str(version))
        return StageResult(state=State.BLOCKED, model=model, version=version, reasons=(moved,))

    def settle(self) -> None:
        """After a crash: settle an open promotion, and record one that was made and not recorded."""
        if not self.attempt.resumed:
            return
        stores, model = self.setup.stores, self.setup.model
        Promoter.of(self.setup).reconcile()
        champion = stores.registry.aliases(model).get(CHAMPION)
        if self.version is None or champion is None or CHALLENGE in self.attempt.stages:
            return
        evaluated_as = stores.registry.version(model, champion).tags.get("evergreen.evaluated_as")
        if str(self.version) in (str(champion), evaluated_as):
            result = {"state": State.PROMOTED.value, "version": champion, "decision_id": None}
            self.attempt = self.claim.note(self.attempt, CHALLENGE, result)

    def tag(self, result: StageResult) -> None:
        """Tag the versions it made with the retraining they come from, its causes, and how it ended."""
        causes = ", ".join(cause.key.rstrip(":") for cause in self.attempt.causes)
        tags = {
            "evergreen.retraining": self.attempt.claim,
            "evergreen.retraining_cause": causes[:500],
            "evergreen.retraining_state": result.state.value,
        }
        for version in {self.version, result.version} - {None}:
            self.setup.stores.registry.set_tags(self.setup.model, int(version or 0), tags)


@stage_task(**TRANSIENT)
def gather_causes(setup: Setup, request: Request) -> RetrainingRequest:
    """Gather the causes: open alarms of the champion, a person, and the labels there are to train on."""
    return read_causes(setup, request, source=open_source_of(setup))


def run_claimed(
    setup: Setup, request: Request, causes: RetrainingRequest, stages: Callable[[RetrainingRun], StageResult]
) -> StageResult:
    """Decide, claim, run the stages, close the claim; what a crash left is resumed first.

    Returns
    -------
    StageResult
        The last stage's state; Blocked or InsufficientData where nothing was started, with ``next_allowed_at``.
    """
    moment = Moment(at=utc_now(), position=causes.labels.newest)
    policy = retrain_policy(setup.config)
    ledger, model = setup.stores.ledger, setup.model
    if request.dry_run:
        decision = decide_retrain(moment, read_history(ledger, model), causes, policy)
        return report.conclude_refusal(model, decision, dry_run=True)
    with ExitStack() as stack:
        claim = take_claim(stack, ledger, model)
        if claim is None:
            return report.conclude_busy(model, await_claim(ledger, model), now=moment.at, policy=policy)
        attempt = claim.take_up(policy)
        if attempt is None:
            attempt, decision = claim.claim(moment, causes, policy, until=request.until)
            if attempt is None:
                return report.conclude_refusal(model, decision, closed=claim.closed)
        return _run_claimed_stages(RetrainingRun(setup=setup, claim=claim, attempt=attempt), stages)


def _run_claimed_stages(run: RetrainingRun, stages: Callable[[RetrainingRun], StageResult]) -> StageResult:
    """Run the stages of a claim and close it: a failure closes it as failed, and counts for the cooldown."""
    model, claim = run.setup.model, run.claim
    announce_retraining(model, run.attempt)
    try:
        run.settle()
        result = stages(run)
    except Exception as error:
        state = State.INPUT_ERROR if isinstance(error, InputError) else State.FAILED
        why = Reason(code="failed", message=" ".join(f"{type(error).__name__}: {error}".split())[:500])
        claim.end(run.attempt, state, version=run.version, reasons=(why,))
        raise
    result = report.conclude_retraining(result, run.attempt, closed=claim.closed)
    run.tag(result)  # before the end is recorded: no later run would make up for what comes after it
    claim.end(run.attempt, result.state, version=result.version, reasons=result.reasons)
    announce_retraining(model, run.attempt, result)
    return result


@stage_task(**TRANSIENT)
def report_retraining(setup: Setup, result: StageResult) -> StageResult:
    """Show in Prefect how it ended and when the next may start; return the result."""
    show(setup.model, Artifact("retrain-{model}", "Retraining", report.retraining_markdown(result)))
    return result
