"""Promote the heir of a won challenge; a refusal keeps the evidence it was won by."""

from __future__ import annotations

from collections.abc import Callable

from tasks.core.challenge.opponents import Opponents
from tasks.core.errors import Held, NotLearnable
from tasks.core.verdict import Reason, StageResult, State
from tasks.heir import Heir
from tasks.io.setup import Setup
from tasks.promote import promote_task
from tasks.prove import serving_smoke


def crown_heir(
    setup: Setup,
    judged: StageResult,
    opponents: Opponents,
    heir: Heir,
    answer: Reason,
    *,
    still: Callable[[], None] | None = None,
) -> StageResult:
    """Return how the challenge ends: as the promotion does, Held or Insufficient where it is refused.

    ``still`` is asked under the lock before anything is planned, and raises ``Held`` where the evidence is void.
    """
    stores = setup.stores
    try:
        promoted = promote_task(
            stores.registry, stores.ledger, model=setup.model, version=heir.version, reason=heir.story,
            expected_champion=opponents.champion, evidence=judged.decision_id, smoke=serving_smoke(stores),
            max_rollback_attempts=setup.config.evaluation.max_rollback_attempts, still=still,
        )  # fmt: skip
    except (Held, NotLearnable) as error:
        state = State.HELD if isinstance(error, Held) else State.INSUFFICIENT
        refusal = Reason(code=error.reason_code, message=str(error))
        return judged.ends(state, answer, *heir.reasons, refusal)
    return judged.ends(promoted.state, answer, *heir.reasons, *promoted.reasons, version=promoted.version)
