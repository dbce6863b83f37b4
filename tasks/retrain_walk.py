"""The walk of a claimed retraining: each stage a subflow, noted before the next begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from prefect.client.schemas.objects import State as PrefectState

from tasks.core.data.clock import format_position
from tasks.core.reign.plan import CHALLENGER, CHAMPION
from tasks.core.retraining.attempts import Attempt
from tasks.core.retraining.words import MANUAL
from tasks.core.verdict import Reason, StageResult, State
from tasks.io.setup import Setup
from tasks.promote import reconcile
from tasks.prove import serving_smoke
from tasks.retrain_desk import Desk

TRAIN, VALIDATE, CHALLENGE = "train", "validate", "challenge"


@dataclass(kw_only=True)
class Walk:
    """A retraining on its way.

    Attributes
    ----------
    setup : Setup
        The model.
    desk : Desk
        Held.
    attempt : Attempt
        The claim, with the stages that are done.
    """

    setup: Setup
    desk: Desk
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
            return _noted(self.setup.model, name, done)
        state = flow(model=str(self.setup.path), **options, return_state=True)
        found = dict(state.result())
        self.attempt = self.desk.note(self.attempt, name, found)
        return StageResult.from_dict(found)

    def challenge(self, flow: Callable[..., PrefectState], **options: Any) -> StageResult:
        """Run the challenge of the version that was trained; Held where another became challenger meanwhile."""
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
                state=State.HELD, model=self.setup.model, version=self.version, reasons=(reason,)
            )
        return self.stage(CHALLENGE, flow, **options)

    def settle(self) -> None:
        """After a crash: settle what it left on the throne, and note a promotion that went through unnoticed."""
        if not self.attempt.resumed:
            return
        stores, model = self.setup.stores, self.setup.model
        attempts = self.setup.config.evaluation.max_rollback_attempts
        reconcile(
            stores.registry, stores.ledger, model=model, smoke=serving_smoke(stores), max_rollback_attempts=attempts
        )  # fmt: skip
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


def _noted(model: str, stage: str, done: Any) -> StageResult:
    """Return the result of a stage that was done before a crash."""
    message = f"The stage '{stage}' was done before its owner died; it ended {done['state']}."
    return StageResult(
        state=State(done["state"]), model=model, version=done["version"], decision_id=done["decision_id"],
        reasons=(Reason(code="resumed", message=message),),
    )  # fmt: skip
