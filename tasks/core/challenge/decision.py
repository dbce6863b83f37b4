"""Judge whether a challenger is better enough, and how many rows would tell if these do not."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import scipy

from evergreen.tasks.core.challenge.difference import Difference
from evergreen.tasks.core.errors import ConfigError
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.dependence import MIN_BLOCKS
from evergreen.tasks.core.verdict import Outcome, Reason

# The rule by which a challenger is promoted.


POLICIES = ("superiority", "non_inferiority")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """When a challenger is promoted."""

    min_improvement: float
    """Least difference worth a promotion, >= 0, in the unit of `Difference.difference`."""
    policy: str = "superiority"
    """``superiority``: lower bound > 0 and estimate >= ``min_improvement``. ``non_inferiority``: lower bound
    > -``margin``; it promotes equals by design."""
    strict: bool = False
    """Superiority by the whole interval: lower bound >= ``min_improvement``."""
    margin: float = 0.0
    """How much worse is still good enough (``non_inferiority``)."""
    min_blocks: int = MIN_BLOCKS
    """Fewest blocks to judge on."""
    power: float = 0.8
    """Probability of promotion that `ChallengeDecision.needed_n` plans for."""

    def __post_init__(self) -> None:
        """Refuse policies that do not exist and numbers out of range."""
        if self.policy not in POLICIES:
            raise ConfigError(f"Unknown policy '{self.policy}'. Allowed: {', '.join(POLICIES)}.")
        for name in ("min_improvement", "margin"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"The rule's {name} is {value}. Allowed: a number from 0 on.")
        if not 0 < self.power < 1:
            raise ConfigError(f"The rule's power is {self.power}. Allowed: between 0 and 1, both excluded.")

    @property
    def detectable(self) -> float:
        """Distance between the difference planned for and the bound that must be cleared.

        Planned for is twice ``min_improvement`` (superiority) or no difference (non-inferiority).
        """
        if self.policy == "non_inferiority":
            return self.margin
        return self.min_improvement if self.strict else 2 * self.min_improvement

    def promotes(self, difference: Difference) -> bool:
        """Return whether the policy is satisfied; False for anything undefined."""
        lower = difference.interval[0]
        if not difference.defined:
            return False
        if self.policy == "non_inferiority":
            return lower > -self.margin
        return self.is_superior(difference)

    def is_superior(self, difference: Difference) -> bool:
        """Return whether the challenger is better, and better enough."""
        lower = difference.interval[0]
        if self.strict:
            return lower >= self.min_improvement and lower > 0
        return lower > 0 and difference.difference >= self.min_improvement


# How many rows or blocks a comparison needs, allowing for how well its spread is known.


RESERVE = 0.25
"""Part of the chance to fail that is planned for besides: skewed metrics and dependent blocks cost power."""
MOST_NEEDED = 10**9
"""Rows or units beyond it are none that anyone will collect."""
_NORMAL_FROM = 2_000  # degrees of freedom from which the noncentral t is the normal for our purpose


def needed_rows(
    *, standard_error: float, n: int, df: float, detectable: float, level: float, power: float
) -> int | None:
    """Return the independent rows that clear the bound with probability ``power``; None beyond 10⁹.

    Parameters
    ----------
    standard_error : float
        Of the difference on ``n`` rows, known with ``df`` degrees of freedom.
    detectable : float
        True difference less the bound that the interval must clear, > 0.
    level : float
        Two-sided alpha.
    power : float
        Wanted probability, averaged over what is not known about the spread.

    Examples
    --------
    With the spread known it is ((z + z') s / d)², z' for a power of 0.85 where 0.8 is wanted: the reserve
    pays for what theory leaves out (docs/limits.md has the rates that were measured):

    >>> needed_rows(standard_error=0.01, n=1000, df=1e9, detectable=0.02, level=0.05, power=0.8)
    2245
    """
    reach = _reach(float(-scipy.special.ndtri(level / 2)), df=df, power=power)
    if reach * standard_error / detectable > MOST_NEEDED:
        return None
    wanted = n * (reach * standard_error / detectable) ** 2
    return max(math.ceil(wanted), 2) if wanted < MOST_NEEDED else None


def needed_blocks(
    *, standard_error: float, blocks: int, detectable: float, level: float, power: float, least: int
) -> int | None:
    """Return the blocks that clear the bound with probability ``power``, at least ``least``; None beyond 10⁹.

    The critical value is t's at the needed number of blocks; the spread is known from ``blocks`` - 1
    degrees of freedom.

    Examples
    --------
    >>> needed_blocks(standard_error=0.01, blocks=10_001, detectable=0.02, level=0.05, power=0.8, least=7)
    22450
    """
    if standard_error / detectable > MOST_NEEDED:
        return None
    unit = blocks * (standard_error / detectable) ** 2
    wanted = float(least)
    for _ in range(30):  # wanted moves the critical value only a little: a few rounds settle it
        critical = float(-scipy.special.stdtrit(max(wanted, 2.0) - 1, level / 2))
        following = max(unit * _reach(critical, df=blocks - 1, power=power) ** 2, least)
        settled = abs(following - wanted) <= max(0.1, 1e-6 * wanted)
        wanted = following if settled else (following + wanted) / 2
        if settled:
            break
    return math.ceil(wanted) if wanted < MOST_NEEDED else None


def _reach(critical: float, *, df: float, power: float) -> float:
    """Return the distance in standard errors that is cleared with the wanted probability.

    critical + z for a known spread; for one estimated with ``df`` degrees of freedom the quantile of the
    noncentral t, which is exact when the new spread equals the true one.
    """
    planned = power + RESERVE * (1 - power)
    if not df < _NORMAL_FROM:
        return critical + float(scipy.special.ndtri(planned))
    return float(scipy.special.nctdtrit(max(df, 1.0), critical, planned))


MIN_ROWS = 30  # independent rows (or groups) below which no test of ours is trusted


@dataclass(frozen=True, kw_only=True)
class ChallengeDecision(Struct):
    """What the comparison says and what follows."""

    verdict: str
    """``superior``, ``equivalent``, ``inferior`` or ``undecided``."""
    outcome: Outcome
    """PASS promotes, FAIL keeps the champion, INSUFFICIENT waits for more rows."""
    reasons: tuple[Reason, ...]
    """What decided."""
    difference: Difference = field(metadata={"flat": True})
    """The evidence."""
    needed_n: int | None = None
    needed_blocks: int | None = None
    """Rows (or groups), and blocks (of the length before neighbours were joined), that promote with
    probability ``power`` a challenger better by twice ``min_improvement``; None where no number would do
    (nothing to detect, undefined)."""


def judge_challenge(difference: Difference, rule: Rule) -> ChallengeDecision:
    """Judge a measured difference by a rule.

    Parameters
    ----------
    difference : Difference
        From `measure_difference`.
    rule : Rule
        What counts as better enough.

    Returns
    -------
    ChallengeDecision
        ``superior`` by the rule; else ``equivalent`` when the interval lies within ± ``min_improvement``
        (or above -``margin`` where the policy promotes equals); else ``inferior`` when it lies below 0;
        else ``undecided``, INSUFFICIENT below ``needed_n`` and FAIL from there on. Too few blocks and
        undefined numbers are ``undecided`` and INSUFFICIENT.
    """
    verdict, outcome = "undecided", Outcome.INSUFFICIENT
    reason = _refusal(difference, rule)
    rows, blocks = _needed(difference, rule)
    if reason is None:
        verdict = _name(difference, rule)
        undecided = verdict == "undecided" and rows is not None and difference.n < rows
        outcome = Outcome.INSUFFICIENT if undecided else Outcome.FAIL
        outcome = Outcome.PASS if rule.promotes(difference) else outcome
        reason = _reason(verdict, outcome, difference, rule, needed=rows)
    elif difference.blocks is not None:
        blocks = max(blocks or 0, rule.min_blocks, difference.needed_blocks_for_test or 0)
        rows = _rows_in(blocks, difference)
    return ChallengeDecision(
        verdict=verdict,
        outcome=outcome,
        reasons=(reason,),
        difference=difference,
        needed_n=rows,
        needed_blocks=blocks,
    )


def _refusal(difference: Difference, rule: Rule) -> Reason | None:
    """Return why nothing can be decided, or None."""
    n, blocks, needed = difference.n, difference.blocks, difference.needed_blocks_for_test
    if blocks is not None and blocks < rule.min_blocks:
        message = (
            f"{blocks} blocks are too few to tell chance from difference; {rule.min_blocks} are needed. "
            "Enlarge the validation window."
        )
        return Reason(code="too_few_blocks", message=message, observed=blocks, limit=rule.min_blocks, n=n)
    if blocks is None and n < MIN_ROWS:
        message = (
            f"{n} rows are too few to compare two models; at least {MIN_ROWS} are needed. "
            "Enlarge the validation window."
        )
        return Reason(code="too_few_rows", message=message, observed=n, limit=MIN_ROWS, n=n)
    if needed is not None and not rule.promotes(difference):
        correlation = difference.correlation
        message = (
            f"Neighbouring blocks resemble each other (correlation {correlation:.2f}), so that about {needed} of "
            "them would decide. Enlarge the validation window."
        )
        observed = round(correlation, 4)
        return Reason(code="blocks_depend", message=message, observed=observed, limit=needed, n=n)
    if not difference.defined:
        message = (
            f"'{difference.metric}' is undefined on these rows or without one of their blocks "
            "(one class only, no relevant row, a champion at 0). Enlarge the window or choose another metric."
        )
        return Reason(code="undefined_difference", message=message, n=n)
    return None


def _name(difference: Difference, rule: Rule) -> str:
    """Return the verdict's word."""
    lower, upper = difference.interval
    within = -rule.min_improvement < lower and upper < rule.min_improvement
    if rule.is_superior(difference):
        return "superior"
    if within or lower == upper == 0 or rule.promotes(difference):
        return "equivalent"
    return "inferior" if upper < 0 else "undecided"


def _reason(
    verdict: str, outcome: Outcome, difference: Difference, rule: Rule, *, needed: int | None
) -> Reason:
    """Say in a sentence what decided."""
    (low, high), n, observed = difference.interval, difference.n, difference.difference
    least = limit = rule.min_improvement
    text = f"{difference.metric}: {observed:+.4f} [{low:+.4f}, {high:+.4f}]"
    code = verdict
    message = {
        "superior": f"{text}, better by at least {least:g}.",
        "equivalent": f"{text}, no difference that matters (±{least:g}).",
        "inferior": f"{text}, worse than the champion.",
        "undecided": f"{text}, neither better by {least:g} nor ruled out.",
    }[verdict]
    if outcome is Outcome.PASS and verdict != "superior":
        code, message = "non_inferior", f"{text}, not worse than the champion by {rule.margin:g}."
    if outcome is Outcome.INSUFFICIENT:
        code, message = "too_few_rows", f"{message} About {needed} rows would decide; there are {n}."
        observed, limit = n, float(needed or 0)
    return Reason(code=code, message=message, observed=observed, limit=limit, n=n)


def _needed(difference: Difference, rule: Rule) -> tuple[int | None, int | None]:
    """Return the rows and the blocks that give the planned power; None where no number would."""
    if not difference.defined or rule.detectable <= 0 or difference.standard_error <= 0:
        return None, None
    planned = {
        "standard_error": difference.standard_error,
        "detectable": rule.detectable,
        "level": difference.level,
        "power": rule.power,
    }
    if difference.blocks is None:
        rows = needed_rows(n=difference.n, df=difference.df, **planned)
        return rows if rows is None else max(rows, MIN_ROWS), None
    blocks = needed_blocks(blocks=difference.blocks, least=rule.min_blocks, **planned)
    blocks = None if blocks is None else blocks * difference.joined
    return _rows_in(blocks, difference), blocks


def _rows_in(blocks: int | None, difference: Difference) -> int | None:
    """Return the rows in as many blocks (of the length before neighbours were joined)."""
    if blocks is None or not difference.blocks:
        return None
    return math.ceil(difference.n * blocks / (difference.blocks * difference.joined))
