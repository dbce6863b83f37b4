"""One look at a live test: what each challenger's evidence says, at any time and as often as one likes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evergreen.tasks.core.ab_testing.checks import MIN_UNITS, check_test, least_units, split_facts
from evergreen.tasks.core.ab_testing.definition import ARMS, BLOCK, ENTITY, Arm, LiveTest
from evergreen.tasks.core.ab_testing.effect import MeasuredEffect, measure_effect
from evergreen.tasks.core.ab_testing.evidence import Evidence
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.sequential import SCALE
from evergreen.tasks.core.stats.sequential_counts import needed_information
from evergreen.tasks.core.verdict import Reason

# What a live test still needs: units, and time at the rate they come.


_RESERVE = (
    0.25  # of the chance to fail: spreads known by chance, and the larger of two variances, cost some power
)
_MOST = 10**9  # a number beyond it is none that anyone will collect


@dataclass(frozen=True, kw_only=True)
class Need(Struct):
    """Units after which a challenger better by the planned improvement has been found with the planned power."""

    units: int | None = None
    """In all: of both arms, or pairs, entities, blocks; None where the spread is not known yet, or beyond
    10⁹."""
    still: int | None = None
    """Of these, those not collected yet."""
    time: float | None = None
    """How long the missing ones take at the rate so far, in the clock's unit, with the follow-up."""
    what: str = "units"
    """What units are: ``units`` (of both arms), ``pairs``, ``entities`` or ``blocks``."""


def needed_units(test: LiveTest, *, standard_error: float, n: int) -> int | None:
    """Return the units that give the planned power, from the standard error on n units; None where unknown.

    Of pairs, whose spread is taken about the value that is tried, it is as many more as the information in units of
    1 / planned effect² (about 15): much for blocks, nothing for rows.

    Examples
    --------
    Accuracy .9 in two equal arms, an improvement of .02 to be found: 14.4 * 4 * .09 / .02². Planned is a power of
    .85 where .8 is wanted; the reserve pays for what theory leaves out (docs/limits.md has what was measured).

    >>> from evergreen.tasks.core.ab_testing.definition import Arm
    >>> arms = {"control": Arm(name="champion", version=1, share=0.5)}
    >>> test = LiveTest(
    ...     name="t", hypothesis="better", metric="accuracy", mode="arms", start=0.0, longest=1e6,
    ...     challengers=(Arm(name="new", version=2, share=0.5),), min_improvement=0.02, **arms)
    >>> needed_units(test, standard_error=(4 * 0.09 / 1000) ** 0.5, n=1000)
    12973
    """
    if not (math.isfinite(standard_error) and standard_error > 0 and n > 0):
        return None
    power = test.power + _RESERVE * (1 - test.power)
    wanted = needed_information(alpha=test.alpha_each, power=power)
    units = n * (standard_error / test.planned) ** 2 * wanted + (0.0 if test.mode == ARMS else wanted)
    return max(math.ceil(units), _least(test)) if units <= _MOST else None


def _least(test: LiveTest) -> int:
    """Return the units below which nothing is judged, of both arms (or pairs)."""
    if test.mode != ARMS:
        return least_units(test)
    smallest = min(arm.share for arm in test.challengers)
    return math.ceil(
        MIN_UNITS[test.mode] * (test.control.share + smallest) / min(test.control.share, smallest)
    )


def unit_word(test: LiveTest) -> str:
    """Return what a test's units are called."""
    if test.mode == ARMS:
        return "units"
    return {BLOCK: "blocks", ENTITY: "entities"}.get(test.unit, "pairs")


def what_is_needed(test: LiveTest, *, standard_error: float, n: int, until: float, decided: bool) -> Need:
    """Return what a challenger still needs.

    Parameters
    ----------
    standard_error : float
        Of the improvement, on the ``n`` units that count.
    until : float
        Position up to which predictions were old enough to count.
    decided : bool
        Whether a verdict was reached: then nothing is missing.
    """
    units, what = needed_units(test, standard_error=standard_error, n=n), unit_word(test)
    if decided:
        return Need(units=units, still=0, time=0.0, what=what)
    if units is None:
        return Need(what=what)
    still = max(units - n, 0)
    rate = n / (until - test.start) if until > test.start else 0.0
    time = still / rate + test.lag if rate > 0 and still else None
    return Need(units=units, still=still, time=time if still else 0.0, what=what)


SUPERIOR, EQUIVALENT, INFERIOR, UNDECIDED = "superior", "equivalent", "inferior", "undecided"
GUARDRAIL_LEVEL = 0.05
"""Level at which all guardrails together send a harmless challenger home."""


@dataclass(frozen=True, kw_only=True)
class ChallengerResult(Struct):
    """What a look says of one challenger."""

    arm: Arm = field(metadata={"flat": True, "write": Arm.to_reference})
    """The challenger."""
    verdict: str
    """``superior``, ``equivalent``, ``inferior`` or ``undecided``."""
    promotes: bool
    """Whether the policy is satisfied."""
    measured: MeasuredEffect = field(metadata={"flat": True})
    """The improvement with its sequence."""
    need: Need
    """What is missing for the planned power."""
    reasons: tuple[Reason, ...]
    """What decided, or what forbids a decision."""
    tripped: tuple[Reason, ...] = ()
    """Guardrails that it breaks."""


@dataclass(frozen=True, kw_only=True)
class LiveTestAnalysis(Struct):
    """A look at all challengers."""

    now: float
    until: float
    """Position of the look, and up to which predictions were old enough to count."""
    judged: tuple[ChallengerResult, ...] = field(metadata={"key": "challengers"})
    """One a challenger."""
    split: Mapping[str, Any]
    """The check of the split; empty for pairs."""
    counts: Mapping[str, Mapping[str, int]]
    """Rows by arm (or challenger): due, labelled, counted, undefined, clipped, unpaired."""
    alpha: float
    """Of the whole test."""


def analyse_live_test(
    test: LiveTest,
    evidence: Evidence,
    *,
    now: float,
    hits: bool = False,
    span: float = 0.0,
    guards: Mapping[str, Evidence] | None = None,
) -> LiveTestAnalysis:
    """Judge a live test by the evidence so far.

    Parameters
    ----------
    evidence : Evidence
        Of the metric that decides (`gather`).
    now : float
        Position on the clock.
    hits : bool
        Whether the metric is right or wrong a row (`evergreen.tasks.core.ab_testing.metric.is_hits`).
    span : float
        Greatest difference of two of its values (`evergreen.tasks.core.ab_testing.metric.span_of`); 0 where there
        is none.
    guards : mapping of str to Evidence, optional
        Of each guardrail's metric, by name.

    Returns
    -------
    Look
        A verdict other than ``undecided`` is false with probability at most ``test.alpha`` over all looks ever
        taken. It is ``undecided`` while a check fails, or an arm has fewer than 200 units (30 pairs, 7 blocks).
    """
    refusals = check_test(evidence, test)
    until = test.counted_until(now)
    judged = tuple(
        _judge(test, evidence, arm, until=until, hits=hits, span=span, refusals=refusals, guards=guards or {})
        for arm in test.challengers
    )
    shown = {name: dict(side.counts) for name, side in evidence.sides.items()}
    return LiveTestAnalysis(
        now=now, until=until, judged=judged, split=split_facts(evidence, test), counts=shown, alpha=test.alpha
    )


def _judge(
    test: LiveTest,
    evidence: Evidence,
    arm: Arm,
    *,
    until: float,
    hits: bool,
    span: float,
    refusals: Sequence[Reason],
    guards: Mapping[str, Evidence],
) -> ChallengerResult:
    measured = measure_effect(
        evidence, test, arm, alpha=test.alpha_each, scale=test.scale, hits=hits, span=span
    )
    stops = (*refusals, *_too_few(test, measured))
    verdict = UNDECIDED if stops else name_verdict(measured.low, measured.high, test)
    wins = not stops and promotes(measured.low, measured.high, test)
    decided = wins or verdict != UNDECIDED
    need = what_is_needed(
        test, standard_error=measured.standard_error, n=measured.n, until=until, decided=decided
    )
    reasons = stops or (_reason(test, arm, measured, verdict, need, wins=wins),)
    return ChallengerResult(
        arm=arm,
        verdict=verdict,
        promotes=wins,
        measured=measured,
        need=need,
        reasons=reasons,
        tripped=_tripped(test, arm, guards),
    )


def promotes(low: float, high: float, test: LiveTest) -> bool:
    """Return whether the policy is satisfied by a sequence's bounds.

    ``superiority``: surely better, and not surely by less than ``min_improvement``; ``strict``: surely better by
    ``min_improvement``; ``non_inferiority``: surely not worse by ``margin``.
    """
    if test.policy == "non_inferiority":
        return low > -test.margin_effect
    return low >= test.effect if test.strict else low > 0 and high >= test.effect


def name_verdict(low: float, high: float, test: LiveTest) -> str:
    """Return the verdict's word for a sequence's bounds, whatever the policy makes of it."""
    better = low >= test.effect if test.strict else low > 0 and high >= test.effect
    if better:
        return SUPERIOR
    if -test.effect < low and high < test.effect:
        return EQUIVALENT
    return INFERIOR if high < 0 else UNDECIDED


def _too_few(test: LiveTest, measured: MeasuredEffect) -> tuple[Reason, ...]:
    least, limit = min(measured.n_control, measured.n_challenger), least_units(test)
    if least >= limit:
        return ()
    what = unit_word(test) if measured.paired else "units in the smaller arm"
    message = f"{least} {what} with a known outcome; {limit} are needed before anything is judged."
    return (Reason(code="too_few_units", message=message, observed=least, limit=limit, n=measured.n),)


def _reason(
    test: LiveTest, arm: Arm, measured: MeasuredEffect, verdict: str, need: Need, *, wins: bool
) -> Reason:
    low, high = measured.low, measured.high
    text = f"{arm.name}, {test.metric}: {measured.improvement:+.4g} [{low:+.4g}, {high:+.4g}]"
    more = (
        "the spread is not known yet"
        if need.still is None
        else f"about {need.still} more {need.what} would tell"
    )
    if wins and verdict != SUPERIOR:  # by its margin
        message = f"{text}, surely not worse than the champion by {test.margin_effect:g} (evaluation.margin)."
        return Reason(
            code="non_inferior",
            message=message,
            observed=measured.low,
            limit=-test.margin_effect,
            n=measured.n,
        )
    sentence = {
        SUPERIOR: f"{text}, better than the champion.",
        EQUIVALENT: f"{text}, no difference that matters (±{test.effect:g}).",
        INFERIOR: f"{text}, worse than the champion.",
        UNDECIDED: f"{text}: {more}.",
    }[verdict]
    limit = need.units if verdict == UNDECIDED else test.effect
    observed = measured.n if verdict == UNDECIDED else measured.improvement
    return Reason(code=verdict, message=sentence, observed=observed, limit=limit, n=measured.n)


def _tripped(test: LiveTest, arm: Arm, guards: Mapping[str, Evidence]) -> tuple[Reason, ...]:
    """Return the guardrails that a challenger breaks; too few units break none."""
    found = []
    for rail in test.guardrails:
        if rail.metric not in guards:
            continue
        level = GUARDRAIL_LEVEL / len(test.guardrails) / len(test.challengers)
        seen = measure_effect(
            guards[rail.metric], test, arm, alpha=level, scale=SCALE * rail.most_worse, hits=False
        )
        if not _too_few(test, seen) and math.isfinite(seen.high) and seen.high < -rail.most_worse:
            text = f"{arm.name}, {rail.metric}: {seen.improvement:+.4g} [{seen.low:+.4g}, {seen.high:+.4g}]"
            message = f"{text}, worse by more than {rail.most_worse:g}."
            found.append(
                Reason(
                    code="guardrail",
                    message=message,
                    observed=seen.improvement,
                    limit=-rail.most_worse,
                    n=seen.n,
                )
            )
    return tuple(found)
