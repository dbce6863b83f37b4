"""Say what is due: which triggers ask for a retraining of a model, and what holds it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import State as PrefectState

from evergreen.tasks.core.data.clock import format_position
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.promotion.plan import CHALLENGER, CHAMPION
from evergreen.tasks.core.retraining.decide import decide_retrain
from evergreen.tasks.core.retraining.history import Attempt
from evergreen.tasks.core.retraining.report import (
    conclude_busy,
    conclude_refusal,
    conclude_retraining,
    retraining_markdown,
)
from evergreen.tasks.core.retraining.types import MANUAL, Moment, RetrainingRequest, retrain_policy
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.io.retraining_claims import RetrainingClaim, await_claim, read_history, take_claim
from evergreen.tasks.io.retraining_request import Request, read_causes
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.runtime.events import announce_retraining
from evergreen.tasks.runtime.publish import Artifact, show
from evergreen.tasks.runtime.sources import open_source_of
from evergreen.tasks.runtime.task import TRANSIENT, stage_task

# The walk of a claimed retraining: each stage a subflow, noted before the next begins.


TRAIN, VALIDATE, CHALLENGE = "train", "validate", "challenge"


@dataclass(kw_only=True)
class RetrainingRun:
    """A retraining on its way.

    Attributes
    ----------
    setup : Setup
        The model.
    desk : Desk
        Blocked.
    attempt : Attempt
        The claim, with the stages that are done.
    """

    setup: Setup
    desk: RetrainingClaim
    attempt: Attempt

    @property
    def version(self) -> int | None:
        """The version that was trained; None before."""
        return self.attempt.stages.get(TRAIN, {}).get("version")

    @property
    def trigger(self) -> str:
        """What asked first."""
        return self.attempt.causes[0].trigger if self.attempt.causes else MANUAL

    @property
    def since(self) -> str | None:
        """The newest change, as text on the model's clock."""
        change_at, clock = self.attempt.change_at, self.setup.config.data.clock
        return None if change_at is None else format_position(change_at, clock=clock)

    def stage(self, name: str, flow: Callable[..., PrefectState], **options: Any) -> StageResult:
        """Run a stage as a subflow and note it; one that is noted already is not run again.

        Raises
        ------
        Exception
            What the stage failed with.
        """
        done = self.attempt.stages.get(name)
        if done is not None:
            return _recorded_result(self.setup.model, name, done)
        state = flow(model=str(self.setup.path), **options, return_state=True)
        found = dict(state.result())
        self.attempt = self.desk.note(self.attempt, name, found)
        return StageResult.from_dict(found)

    def challenge(self, flow: Callable[..., PrefectState], **options: Any) -> StageResult:
        """Run the challenge of the version that was trained; Blocked where another became challenger meanwhile."""
        holder = self.setup.stores.registry.aliases(self.setup.model).get(CHALLENGER)
        if CHALLENGE not in self.attempt.stages and holder != self.version:
            message = (
                f"@challenger is {holder or 'absent'}, not version {self.version} of this retraining: somebody else "
                "moved it meanwhile. Nothing was challenged."
            )
            reason = Reason(
                code="challenger_moved", message=message, observed=str(holder), limit=str(self.version)
            )
            return StageResult(
                state=State.BLOCKED, model=self.setup.model, version=self.version, reasons=(reason,)
            )
        return self.stage(CHALLENGE, flow, **options)

    def settle(self) -> None:
        """After a crash: settle what it left on the throne, and note a promotion that went through unnoticed."""
        if not self.attempt.resumed:
            return
        stores, model = self.setup.stores, self.setup.model
        Promoter.of(self.setup).reconcile()
        champion = stores.registry.aliases(model).get(CHAMPION)
        if self.version is None or champion is None or CHALLENGE in self.attempt.stages:
            return
        twin = stores.registry.version(model, champion).tags.get("evergreen.evaluated_as")
        if str(self.version) in (str(champion), twin):
            found = {"state": State.PROMOTED.value, "version": champion, "decision_id": None}
            self.attempt = self.desk.note(self.attempt, CHALLENGE, found)

    def tag(self, result: StageResult) -> None:
        """Tell on the versions it made which retraining they come from, why, and how it ended."""
        tags = {
            "evergreen.retraining": self.attempt.claim,
            "evergreen.retraining_cause": ", ".join(cause.key.rstrip(":") for cause in self.attempt.causes)[
                :500
            ],
            "evergreen.retraining_state": result.state.value,
        }
        for version in {self.version, result.version} - {None}:
            self.setup.stores.registry.set_tags(self.setup.model, int(version or 0), tags)


def _recorded_result(model: str, stage: str, done: Any) -> StageResult:
    """Return the result of a stage that was done before a crash."""
    message = f"The stage '{stage}' was done before its owner died; it ended {done['state']}."
    return StageResult(
        state=State(done["state"]),
        model=model,
        version=done["version"],
        decision_id=done["decision_id"],
        reasons=(Reason(code="resumed", message=message),),
    )


# Retrain: gather what asks, decide and claim, walk the stages, close the claim.


@stage_task(**TRANSIENT)
def gather_causes(setup: Setup, request: Request) -> RetrainingRequest:
    """Gather what asks: open alarms of the champion, a person, and the labels there are to learn from."""
    return read_causes(setup, request, source=open_source_of(setup))


def run_claimed(
    setup: Setup, request: Request, asked: RetrainingRequest, stages: Callable[[RetrainingRun], StageResult]
) -> StageResult:
    """Decide, claim, walk the stages, close the claim; what a dead owner left is taken up first.

    Returns
    -------
    StageResult
        The last stage's state; Blocked or InsufficientData where nothing was started, with ``next_allowed_at``.
    """
    moment = Moment(at=utc_now(), position=asked.labels.newest)
    policy = retrain_policy(setup.config)
    ledger, model = setup.stores.ledger, setup.model
    if request.dry_run:
        decision = decide_retrain(moment, read_history(ledger, model), asked, policy)
        return conclude_refusal(model, decision, dry_run=True)
    with ExitStack() as stack:
        desk = take_claim(stack, ledger, model)
        if desk is None:
            return conclude_busy(model, await_claim(ledger, model), now=moment.at, policy=policy)
        attempt = desk.take_up(policy)
        if attempt is None:
            attempt, decision = desk.claim(moment, asked, policy, until=request.until)
            if attempt is None:
                return conclude_refusal(model, decision, closed=desk.closed)
        return _run_claimed_stages(RetrainingRun(setup=setup, desk=desk, attempt=attempt), stages)


def _run_claimed_stages(walk: RetrainingRun, stages: Callable[[RetrainingRun], StageResult]) -> StageResult:
    """Walk the stages of a claim and close it: a failure closes it as failed, and counts for the cooldown."""
    announce_retraining(walk.setup.model, walk.attempt)
    try:
        walk.settle()
        result = stages(walk)
    except Exception as error:
        state = State.INPUT_ERROR if isinstance(error, InputError) else State.FAILED
        why = Reason(code="failed", message=" ".join(f"{type(error).__name__}: {error}".split())[:500])
        walk.desk.end(walk.attempt, state, version=walk.version, reasons=(why,))
        raise
    told = conclude_retraining(result, walk.attempt, closed=walk.desk.closed)
    walk.tag(told)  # before the end is written: what comes after it, no later run would make up for
    walk.desk.end(walk.attempt, told.state, version=told.version, reasons=told.reasons)
    announce_retraining(walk.setup.model, walk.attempt, told)
    return told


@stage_task(**TRANSIENT)
def report_retraining(setup: Setup, result: StageResult) -> StageResult:
    """Show in the Prefect UI how it ended and when the next may start; hand the result on."""
    show(setup.model, Artifact("retrain-{model}", "Retraining", retraining_markdown(result)))
    return result
