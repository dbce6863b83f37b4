"""Whether a live test goes on, and what follows where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from evergreen.tasks.core.ab_testing.analysis import EQUIVALENT, INFERIOR, ChallengerResult, LiveTestAnalysis
from evergreen.tasks.core.ab_testing.definition import CHAMPION_MOVED, Arm, LiveTest
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Reason

ALREADY_CHAMPION = "already_champion"
"""Code of the reason that a challenger has the throne, so that nothing is left to promote."""
_BROKEN = frozenset(
    {
        "sample_ratio_mismatch",
        "labels_differ",
        "unit_contamination",
        "undefined_metric_rate",
        "shadow_coverage_low",
    }
)


class Action(StrEnum):
    """What is to be done after a look."""

    GO_ON = "go_on"
    PROMOTE = "promote"
    KEEP = "keep"
    EXPIRE = "expire"
    ABORT = "abort"


@dataclass(frozen=True, kw_only=True)
class Conclusion(Struct):
    """What follows from a look."""

    action: Action
    """``promote`` the winner, ``keep`` the champion (nobody can win any more), ``expire`` (kept, for time is
    up), ``abort`` (kept, for the test or a challenger is not sound), or ``go_on``."""
    reasons: tuple[Reason, ...]
    """Why."""
    winner: Arm | None = field(default=None, metadata={"write": Arm.to_reference})
    """Who is to be promoted."""

    @property
    def ends(self) -> bool:
        """Whether the test is over."""
        return self.action is not Action.GO_ON

    @classmethod
    def of(cls, plain: Mapping[str, Any], test: LiveTest) -> Conclusion:
        """Return the conclusion written by ``to_dict``, its winner one of the test's arms."""
        named = (plain["winner"] or {}).get("variant")
        winner = next((arm for arm in test.challengers if arm.name == named), None)
        return replace(cls.from_dict({**plain, "winner": None}), winner=winner)


def conclude(
    test: LiveTest, look: LiveTestAnalysis, *, champion: int | None, tripped: Sequence[Reason] = ()
) -> Conclusion:
    """Decide what follows from a look.

    Parameters
    ----------
    champion : int or None
        Who reigns now: the evidence is about the control, and void when another has taken the throne.
    tripped : sequence of Reason
        Guardrails that the traffic broke (error rate, latency, shift of scores), and whatever else happened to the
        traffic and the throne since the test was created (`evergreen.tasks.core.ab_testing.ledger`).

    Returns
    -------
    Conclusion
        In this order: done, where a challenger reigns already (a promotion whose end was not written, or a person's);
        abort (the champion moved, a guardrail, a check that cannot mend itself), promote the best of
        those who satisfy the policy, keep where all are equivalent or inferior, expire at the longest duration and
        its follow-up, else go on.
    """
    reigning = [arm for arm in test.challengers if arm.version is not None and arm.version == champion]
    if reigning:
        return Conclusion(
            action=Action.PROMOTE, winner=reigning[0], reasons=(_already_champion(reigning[0]),)
        )
    told = any(reason.code == CHAMPION_MOVED for reason in tripped)
    void = () if told else _champion_moved(test, champion)
    broken = (*void, *tripped, *_guardrails(look), *_unsound(look))
    if broken:
        return Conclusion(action=Action.ABORT, reasons=broken)
    winner = _winner(look.judged)
    if winner is not None:
        return Conclusion(action=Action.PROMOTE, winner=winner.arm, reasons=winner.reasons)
    reasons = tuple(reason for judged in look.judged for reason in judged.reasons)
    if all(judged.verdict in _settled(test) for judged in look.judged):
        return Conclusion(action=Action.KEEP, reasons=reasons)
    if look.now >= test.end + test.lag:
        return Conclusion(action=Action.EXPIRE, reasons=(_expired(test), *reasons))
    return Conclusion(action=Action.GO_ON, reasons=reasons)


def end_now(conclusion: Conclusion) -> Conclusion:
    """Return how a test that could go on ends when a person ends it: the champion is kept."""
    reason = Reason(code="ended_by_hand", message="Ended by hand before a verdict: the champion is kept.")
    return Conclusion(action=Action.KEEP, reasons=(reason, *conclusion.reasons))


def _settled(test: LiveTest) -> tuple[str, ...]:
    """Return the verdicts after which nobody can win: an equal one still can where equals are promoted."""
    return (INFERIOR,) if test.policy == "non_inferiority" else (EQUIVALENT, INFERIOR)


def _already_champion(arm: Arm) -> Reason:
    message = f"Version {arm.version} reigns already."
    return Reason(code=ALREADY_CHAMPION, message=message, observed=arm.version, limit=None)


def _winner(judged: Sequence[ChallengerResult]) -> ChallengerResult | None:
    """Return the best of those who satisfy the policy and can be promoted."""
    winners = [one for one in judged if one.promotes and one.arm.version is not None]
    return max(winners, key=lambda one: one.measured.improvement, default=None)


def _champion_moved(test: LiveTest, champion: int | None) -> tuple[Reason, ...]:
    if champion == test.control.version:
        return ()
    message = (
        f"Version {champion} reigns now; the test compares with version {test.control.version}. "
        "Begin a new test."
    )
    return (Reason(code=CHAMPION_MOVED, message=message, observed=champion, limit=test.control.version),)


def _guardrails(look: LiveTestAnalysis) -> tuple[Reason, ...]:
    return tuple(reason for judged in look.judged for reason in judged.tripped)


def _unsound(look: LiveTestAnalysis) -> tuple[Reason, ...]:
    """Return the checks that failed and taint all evidence to come; each once."""
    found = {r.message: r for judged in look.judged for r in judged.reasons if r.code in _BROKEN}
    return tuple(found.values())


def _expired(test: LiveTest) -> Reason:
    message = "The longest duration is over without a verdict: the champion is kept."
    return Reason(code="expired", message=message, observed=test.longest, limit=test.longest)
