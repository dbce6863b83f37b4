"""Guardrails: whether an arm errs more, answers slower or scores otherwise than the champion's arm."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config.serving import GuardrailLimits
from evergreen.tasks.core.traffic.counts import ArmFigures
from evergreen.tasks.core.verdict import Reason

GUARDRAILS = ("errors", "latency", "score")
"""What is checked of an arm."""


def round_level(limits: GuardrailLimits, *, number: int, arms: int) -> float:
    """Return the level of one guardrail of one arm in one round.

    The n-th round spends ``1 / (n (n + 1))`` of the whole, which adds up to 1 over all rounds there will ever be; a
    round's part is divided evenly among processes, arms and guardrails.

    Parameters
    ----------
    number : int
        1, 2, 3, … since the traffic was set.
    arms : int
        Challengers that are checked.

    >>> round_level(GuardrailLimits(), number=1, arms=1) == 0.05 / 2 / 3
    True
    """
    return limits.false_aborts / (number * (number + 1) * len(GUARDRAILS) * arms * limits.processes)


def round_number(*, set_at: datetime, now: datetime, min_time: timedelta, before: int = 0) -> int:
    """Return the number of the round that begins now.

    Rounds last ``min_time`` at least, so that time alone tells how many there can have been: a process that was
    restarted does not spend what it has spent before.

    Parameters
    ----------
    set_at : datetime
        When the traffic was set.
    now : datetime
        When the round begins.
    min_time : timedelta
        Shortest round.
    before : int
        Number of the round before in this process; 0: none.
    """
    passed = math.floor((now - set_at) / min_time) if min_time else 0
    return max(before + 1, passed + 1)


# Evidence that may be looked at at any time: bets on the difference between two arms.


RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""How many times as often the event happens in the arm, if it is worse: the alternatives that are bet on."""
FRACTIONS = (0.1, 0.25, 0.5, 0.8)
"""Parts of the largest stake allowed that are bet on a difference of means."""


def log_evidence(payoffs: FloatArray, counts: FloatArray, stakes: Sequence[float]) -> float:
    """Return the logarithm of an e-value: the mean wealth of gamblers with fixed stakes.

    A gambler with stake s multiplies its wealth by ``1 + s x`` at each observation x. If the mean of x is at most 0
    given all that went before, its expected wealth never exceeds 1, so that wealth above 1/a is reached at any time
    with probability a at most (Ville's inequality), however often one looks. The mean over stakes fixed beforehand
    keeps that.

    Parameters
    ----------
    payoffs, counts : arrays, shape (k,)
        Distinct values of x, and how often each was observed.
    stakes : sequence of float
        Positive, and small enough that ``1 + s x > 0``.

    References
    ----------
    Waudby-Smith, I., & Ramdas, A. (2024). Estimating means of bounded random variables by betting. Journal of the
    Royal Statistical Society B, 86(1), 1-27.

    >>> round(math.exp(log_evidence(np.array([1.0, -1.0]), np.array([3.0, 1.0]), [0.5])), 6)  # 1.5^3 x 0.5
    1.6875
    """
    with np.errstate(divide="raise", invalid="raise"):
        wealth = np.log1p(np.outer(np.asarray(stakes), payoffs)) @ counts
    top = float(wealth.max())
    return top + math.log(float(np.mean(np.exp(wealth - top))))


def more_events(events: int, events_before: int, *, share: float) -> float:
    """Return the log evidence that an event is likelier in an arm than in the champion's.

    Entities are put into the arm by a hash with probability ``share`` (of the two arms together), whatever happens to
    them. If the arm is no worse, each entity with an event is therefore one of the arm's with probability
    ``share`` at most, whatever the rate, its drift, or bursts that hit both arms. The payoff is ``1/share`` for an
    event in the arm and ``-1/(1 - share)`` for one in the champion's.

    Parameters
    ----------
    events, events_before : int
        Entities with the event in the arm, and in the champion's arm.
    share : float
        Within (0, 1).

    >>> more_events(0, 0, share=0.1)
    0.0
    >>> more_events(8, 30, share=0.01) > math.log(1000)
    True
    """
    payoffs = np.array([1.0 / share, -1.0 / (1.0 - share)])
    stakes = [share * (1.0 - share) * (r - 1.0) / (share * r + 1.0 - share) for r in RATIOS]
    return log_evidence(payoffs, np.array([events, events_before], dtype=np.float64), stakes)


def other_mean(
    ranks: Sequence[tuple[float, int]],
    ranks_before: Sequence[tuple[float, int]],
    *,
    share: float,
    tolerance: float,
) -> float:
    """Return the log evidence that means of two arms differ by more than a tolerance, in either direction.

    The payoff of a value v (0 to 1, seen from 1/2) is ``±v/share - tolerance`` in the arm and
    ``∓v/(1 - share) - tolerance`` in the champion's: its mean is the difference of means less the tolerance.

    Parameters
    ----------
    ranks, ranks_before : sequences of (float, int)
        Values within 0..1 and how many there are, in the arm and in the champion's.
    share : float
        Probability of being in the arm, of the two; within (0, 1).
    tolerance : float
        Difference that is allowed, >= 0.

    >>> other_mean([(0.9, 200)], [(0.25, 500), (0.75, 500)], share=1 / 6, tolerance=0.1) > math.log(1000)
    True
    """
    inner = np.array([rank - 0.5 for rank, _ in ranks]) / share
    outer = -np.array([rank - 0.5 for rank, _ in ranks_before]) / (1.0 - share)
    values = np.concatenate([inner, outer])
    counts = np.array([n for _, n in (*ranks, *ranks_before)], dtype=np.float64)
    largest = 1.0 / (0.5 / min(share, 1.0 - share) + tolerance)
    stakes = [fraction * largest for fraction in FRACTIONS]
    above, below = (log_evidence(sign * values - tolerance, counts, stakes) for sign in (1.0, -1.0))
    return float(np.logaddexp(above, below)) - math.log(2.0)


def above_rate(events: int, n: int, *, rate: float) -> float:
    """Return the log evidence that an event is likelier than a rate fixed beforehand: for an arm that stands alone.

    Parameters
    ----------
    events, n : int
        Entities with the event, and all.
    rate : float
        Within (0, 1).

    >>> above_rate(30, 200, rate=0.05) > math.log(1000)
    True
    """
    payoffs = np.array([1.0 - rate, -rate])
    likelier = [min(r * rate, (1.0 + rate) / 2.0) for r in RATIOS]
    stakes = [(p - rate) / (rate * (1.0 - rate)) for p in likelier]
    return log_evidence(payoffs, np.array([events, n - events], dtype=np.float64), stakes)


DOUBT = math.log(10.0)
"""Log evidence that holds a step: ten to one."""


@dataclass(frozen=True, kw_only=True)
class GuardrailResult:
    """The result of one guardrail for one arm."""

    name: str
    arm: str
    """``errors``, ``latency`` or ``score``; the variant."""
    evidence: float
    needed: float
    """Logarithm of the e-value, and what it must reach to trip."""
    material: bool
    """Whether the difference seen is as large as the limit: a smaller one never trips, however sure it is."""
    observed: float
    limit: float
    """What was measured, and what it is held to; NaN where there is nothing to measure."""
    n: int
    """Entities (errors: rows) of the arm it was measured on."""
    message: str
    """A sentence."""

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
        code = f"guardrail_{self.name}"
        observed = None if math.isnan(self.observed) else round(self.observed, 6)
        return Reason(code=code, message=self.message, observed=observed, limit=self.limit, n=self.n)

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
    def from_dict(cls, plain: Mapping[str, Any]) -> GuardrailResult:
        """Return what `to_dict` wrote: what it observed, and whether it tripped; no longer whether it was doubtful."""
        same = {name: plain[name] for name in ("arm", "evidence", "needed", "limit", "n", "message")}
        observed = math.nan if plain["observed"] is None else plain["observed"]
        name = plain["code"].removeprefix("guardrail_")
        return cls(name=name, material=plain["tripped"], observed=observed, **same)


def judge_arm(
    arm: ArmFigures,
    champion: ArmFigures,
    *,
    share: float,
    limits: GuardrailLimits,
    level: float,
    baseline: ArmFigures | None = None,
) -> tuple[GuardrailResult, ...]:
    """Judge an arm against the champion's by what happened in the same round.

    Parameters
    ----------
    arm, champion : ArmFigures
        Of the same round.
    share : float
        The arm's part of the two arms' traffic; 1: the champion answers no request.
    limits : GuardrailLimits
        What arms are held to.
    level : float
        Probability of a false alarm that each guardrail may spend in this round.
    baseline : ArmFigures | None
        The champion's arm in the last round that had one, for ``share`` 1; without it errors cannot be compared.

    Returns
    -------
    tuple of GuardrailResult
        One for each that is configured and can be judged.

    Notes
    -----
    Judged at any time and as often as wanted: the evidence is an e-process (`evergreen.tasks.core.traffic.guardrails`).
    """
    if share <= 0.0:
        return ()
    needed = -math.log(level)
    against = champion if share < 1.0 else baseline
    results = [
        None if against is None else _judge_errors(arm, against, share, limits, needed),
        _judge_latency(arm, limits, needed),
        _judge_score(arm, champion, share, limits, needed),
    ]
    return tuple(one for one in results if one is not None)


def _judge_errors(
    arm: ArmFigures, champion: ArmFigures, share: float, limits: GuardrailLimits, needed: float
) -> GuardrailResult | None:
    if limits.error_rise is None:
        return None
    if share < 1.0:
        evidence = more_events(arm.erred, champion.erred, share=share)
    else:
        usual = _upper_rate(champion.erred, champion.answered + champion.erred) + limits.error_rise
        evidence = above_rate(arm.erred, arm.answered + arm.erred, rate=min(usual, 0.5))
    rate, usual_rate = arm.error_rate, 0.0 if math.isnan(champion.error_rate) else champion.error_rate
    rise = rate - usual_rate
    return GuardrailResult(
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


def _judge_latency(arm: ArmFigures, limits: GuardrailLimits, needed: float) -> GuardrailResult | None:
    """Judge latency probes: an arm no slower than the ratio allows takes longer than that in half of them at most."""
    if limits.latency_ratio is None or not arm.probes:
        return None
    return GuardrailResult(
        name="latency",
        arm=arm.name,
        evidence=more_events(arm.slower, arm.probes - arm.slower, share=0.5),
        needed=needed,
        material=True,  # the allowed ratio is in what counts as slower
        observed=arm.slower_share,
        limit=0.5,
        n=arm.probes,
        message=f"'{arm.name}' took more than {limits.latency_ratio:g} times as long as the champion for the same rows "
        f"in {_percent(arm.slower_share)} of {arm.probes} comparisons; at most half of them are allowed.",
    )


def _judge_score(
    arm: ArmFigures, champion: ArmFigures, share: float, limits: GuardrailLimits, needed: float
) -> GuardrailResult | None:
    if limits.score_shift is None or not arm.scored or not champion.scored or share >= 1.0:
        return None
    evidence = other_mean(arm.ranks, champion.ranks, share=share, tolerance=limits.score_shift)
    shift = arm.mean_rank - champion.mean_rank
    return GuardrailResult(
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
