"""Guardrails: whether an arm errs more, answers slower or scores otherwise than the champion's arm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.traffic.betting import more_events, oftener_than, other_mean
from tasks.core.traffic.figures import ArmFigures
from tasks.core.traffic.limits import Limits
from tasks.core.verdict import Reason

DOUBT = math.log(10.0)
"""Log evidence that holds a step: ten to one."""


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """What one guardrail says of one arm.

    Attributes
    ----------
    name, arm : str
        ``errors``, ``latency`` or ``score``; the variant.
    evidence, needed : float
        Logarithm of the e-value, and what it must reach to trip.
    material : bool
        Whether the difference seen is as large as the limit: a smaller one never trips, however sure it is.
    observed, limit : float
        What was measured, and what it is held to; NaN where there is nothing to measure.
    n : int
        Entities (errors: rows) of the arm it was measured on.
    message : str
        A sentence.
    """

    name: str
    arm: str
    evidence: float
    needed: float
    material: bool
    observed: float
    limit: float
    n: int
    message: str

    @property
    def tripped(self) -> bool:
        """True when the arm must be sent back."""
        return self.material and self.evidence >= self.needed

    @property
    def doubtful(self) -> bool:
        """True when the arm should not get more yet."""
        return self.material and self.evidence >= min(DOUBT, self.needed)

    def to_reason(self) -> Reason:
        """Return it as a reason."""
        said = None if math.isnan(self.observed) else round(self.observed, 6)
        return Reason(
            code=f"guardrail_{self.name}", message=self.message, observed=said, limit=self.limit, n=self.n
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **self.to_reason().to_dict(),
            "arm": self.arm,
            "evidence": round(self.evidence, 4),
            "needed": round(self.needed, 4),
            "tripped": self.tripped,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Guardrail:
        """Return what `to_dict` wrote: what it observed, and whether it tripped; no longer whether it was doubtful."""
        return cls(
            name=plain["code"].removeprefix("guardrail_"),
            arm=plain["arm"],
            evidence=plain["evidence"],
            needed=plain["needed"],
            material=plain["tripped"],
            observed=math.nan if plain["observed"] is None else plain["observed"],
            limit=plain["limit"],
            n=plain["n"],
            message=plain["message"],
        )


def judge_arm(
    arm: ArmFigures,
    champion: ArmFigures,
    *,
    share: float,
    limits: Limits,
    level: float,
    baseline: ArmFigures | None = None,
) -> tuple[Guardrail, ...]:
    """Judge an arm against the champion's by what happened in the same round.

    Parameters
    ----------
    arm, champion : ArmFigures
        Of the same round.
    share : float
        The arm's part of the two arms' traffic; 1: the champion answers nobody.
    limits : Limits
        What arms are held to.
    level : float
        Probability of a false alarm that each guardrail may spend in this round.
    baseline : ArmFigures | None
        The champion's arm in the last round that had one, for ``share`` 1; without it errors cannot be compared.

    Returns
    -------
    tuple of Guardrail
        One for each that is watched and can be judged.

    Notes
    -----
    Judged at any time and as often as wanted: the evidence is an e-process (`tasks.core.traffic.betting`).
    """
    if share <= 0.0:
        return ()
    needed = -math.log(level)
    against = champion if share < 1.0 else baseline
    found = [
        None if against is None else _judge_errors(arm, against, share, limits, needed),
        _judge_latency(arm, limits, needed),
        _judge_score(arm, champion, share, limits, needed),
    ]
    return tuple(one for one in found if one is not None)


def _judge_errors(
    arm: ArmFigures, champion: ArmFigures, share: float, limits: Limits, needed: float
) -> Guardrail | None:
    if limits.error_rise is None:
        return None
    if share < 1.0:
        evidence = more_events(arm.erred, champion.erred, share=share)
    else:
        usual = _upper_rate(champion.erred, champion.answered + champion.erred) + limits.error_rise
        evidence = oftener_than(arm.erred, arm.answered + arm.erred, rate=min(usual, 0.5))
    rate, usual_rate = arm.error_rate, 0.0 if math.isnan(champion.error_rate) else champion.error_rate
    rise = rate - usual_rate
    return Guardrail(
        name="errors",
        arm=arm.name,
        evidence=evidence,
        needed=needed,
        material=rise >= limits.error_rise,
        observed=rise,
        limit=limits.error_rise,
        n=arm.rows,
        message=f"'{arm.name}' failed {arm.errors} of {arm.rows} rows ({_percent(rate)}), the champion "
        f"{_percent(usual_rate)}; at most {_percent(limits.error_rise)} more is allowed.",
    )


def _judge_latency(arm: ArmFigures, limits: Limits, needed: float) -> Guardrail | None:
    """Judge duels: an arm no slower than the ratio allows takes longer than that in half of them at most."""
    if limits.latency_ratio is None or not arm.duels:
        return None
    return Guardrail(
        name="latency",
        arm=arm.name,
        evidence=more_events(arm.slower, arm.duels - arm.slower, share=0.5),
        needed=needed,
        material=True,  # the allowed ratio is in what counts as slower
        observed=arm.slower_share,
        limit=0.5,
        n=arm.duels,
        message=f"'{arm.name}' took more than {limits.latency_ratio:g} times as long as the champion for the same rows "
        f"in {_percent(arm.slower_share)} of {arm.duels} comparisons; at most half of them are allowed.",
    )


def _judge_score(
    arm: ArmFigures, champion: ArmFigures, share: float, limits: Limits, needed: float
) -> Guardrail | None:
    if limits.score_shift is None or not arm.scored or not champion.scored or share >= 1.0:
        return None
    evidence = other_mean(arm.ranks, champion.ranks, share=share, tolerance=limits.score_shift)
    shift = arm.mean_rank - champion.mean_rank
    return Guardrail(
        name="score",
        arm=arm.name,
        evidence=evidence,
        needed=needed,
        material=abs(shift) >= limits.score_shift,
        observed=shift,
        limit=limits.score_shift,
        n=arm.scored,
        message=f"Scores of '{arm.name}' lie {shift:+.3f} of rank from the champion's; at most "
        f"{limits.score_shift:g} either way is allowed.",
    )


def _upper_rate(events: int, n: int) -> float:
    """Return a rate that the true one hardly exceeds: three standard errors and three events above."""
    return (events + 3.0 * math.sqrt(events) + 3.0) / max(n, 1)


def _percent(rate: float) -> str:
    return "none" if math.isnan(rate) else f"{rate:.2%}"
