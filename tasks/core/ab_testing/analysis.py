"""One analysis of a live test, at any time and as often as one likes: verdicts, needs, and what follows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from evergreen.tasks.core.ab_testing.checks import check_test, least_units, split_facts
from evergreen.tasks.core.ab_testing.definition import (
    ARMS,
    BLOCK,
    CHAMPION_MOVED,
    ENTITY,
    Arm,
    LiveTest,
    champion_moved,
)
from evergreen.tasks.core.ab_testing.effect import MeasuredEffect, measure_effect
from evergreen.tasks.core.ab_testing.evidence import Evidence
from evergreen.tasks.core.challenge.decision import MOST_NEEDED, RESERVE
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.sequential import SCALE
from evergreen.tasks.core.stats.sequential_counts import needed_information
from evergreen.tasks.core.verdict import Reason

# What a live test still needs: units, and time at the rate they come.


@dataclass(frozen=True, kw_only=True)
class Need(Struct):
    """Units after which a challenger better by the planned improvement has been found with the planned power."""

    units: int | None = None
    """In all: of both arms, or pairs, entities, blocks; None where the spread is not known yet, or beyond
    10⁹."""
    remaining: int | None = field(default=None, metadata={"key": "still"})
    """Of these, those not collected yet."""
    time: float | None = None
    """How long the missing ones take at the rate so far, in the clock's unit, with the follow-up."""
    unit: str = field(default="units", metadata={"key": "what"})
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
    power = test.power + RESERVE * (1 - test.power)
    wanted = needed_information(alpha=test.alpha_each, power=power)
    units = n * (standard_error / test.planned) ** 2 * wanted + (0.0 if test.mode == ARMS else wanted)
    least = least_units(test)
    if test.mode == ARMS:  # of both arms together
        smallest = min(arm.share for arm in test.challengers)
        least = math.ceil(least * (test.control.share + smallest) / min(test.control.share, smallest))
    return max(math.ceil(units), least) if units <= MOST_NEEDED else None


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
    units, unit = needed_units(test, standard_error=standard_error, n=n), unit_word(test)
    if decided:
        return Need(units=units, remaining=0, time=0.0, unit=unit)
    if units is None:
        return Need(unit=unit)
    remaining, time = max(units - n, 0), 0.0 if units <= n else None
    if remaining and n and until > test.start:
        time = remaining / (n / (until - test.start)) + test.lag
    return Need(units=units, remaining=remaining, time=time, unit=unit)


SUPERIOR, EQUIVALENT, INFERIOR, UNDECIDED = "superior", "equivalent", "inferior", "undecided"
GUARDRAIL_LEVEL = 0.05
"""Level at which all guardrails together end the test of a harmless challenger."""


@dataclass(frozen=True, kw_only=True)
class ChallengerResult(Struct):
    """The result of one challenger in an analysis."""

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
    """The results of all challengers."""

    now: float
    until: float
    """Position of the analysis, and up to which predictions were old enough to count."""
    results: tuple[ChallengerResult, ...] = field(metadata={"key": "challengers"})
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
    guardrails: Mapping[str, Evidence] | None = None,
) -> LiveTestAnalysis:
    """Judge a live test by the evidence so far.

    Parameters
    ----------
    evidence : Evidence
        Of the metric that decides (`gather_evidence`).
    now : float
        Position on the clock.
    hits : bool
        Whether the metric is right or wrong a row (`evergreen.tasks.core.ab_testing.metric.is_hits`).
    span : float
        Greatest difference of two of its values (`evergreen.tasks.core.ab_testing.metric.span_of`); 0 where there
        is none.
    guardrails : mapping of str to Evidence, optional
        Of each guardrail's metric, by name.

    Returns
    -------
    LiveTestAnalysis
        A verdict other than ``undecided`` is false with probability at most ``test.alpha`` over all analyses ever
        made. It is ``undecided`` while a check fails, or an arm has fewer than 200 units (30 pairs, 7 blocks).
    """
    refusals = check_test(evidence, test)
    until = test.counted_until(now)
    results = []
    for arm in test.challengers:
        measured = measure_effect(
            evidence, test, arm, alpha=test.alpha_each, scale=test.scale, hits=hits, span=span
        )
        tripped = _tripped(test, arm, guardrails or {})
        results.append(_judge(test, arm, measured, until=until, refusals=refusals, rails=tripped))
    return LiveTestAnalysis(
        now=now,
        until=until,
        results=tuple(results),
        split=split_facts(evidence, test),
        counts={name: dict(arm.counts) for name, arm in evidence.arms.items()},
        alpha=test.alpha,
    )


def _judge(
    test: LiveTest,
    arm: Arm,
    measured: MeasuredEffect,
    *,
    until: float,
    refusals: Sequence[Reason],
    rails: tuple[Reason, ...],
) -> ChallengerResult:
    stops = (*refusals, *_too_few(test, measured))
    verdict = UNDECIDED if stops else name_verdict(measured.low, measured.high, test)
    wins = not stops and promotes(measured.low, measured.high, test)
    error, decided = measured.standard_error, wins or verdict != UNDECIDED
    need = what_is_needed(test, standard_error=error, n=measured.n, until=until, decided=decided)
    reasons = stops or (_reason(test, arm, measured, verdict, need, wins=wins),)
    return ChallengerResult(
        arm=arm, verdict=verdict, promotes=wins, measured=measured, need=need, reasons=reasons, tripped=rails
    )


def promotes(low: float, high: float, test: LiveTest) -> bool:
    """Return whether the policy is satisfied by a sequence's bounds.

    ``superiority``: proven better, and not proven so by less than ``min_improvement``; ``strict``: proven better by
    ``min_improvement``; ``non_inferiority``: proven not worse by ``margin``.
    """
    if test.policy == "non_inferiority":
        return low > -test.margin_effect
    return _is_superior(low, high, test)


def _is_superior(low: float, high: float, test: LiveTest) -> bool:
    return low >= test.effect if test.strict else low > 0 and high >= test.effect


def name_verdict(low: float, high: float, test: LiveTest) -> str:
    """Return the verdict's word for a sequence's bounds, whatever the policy makes of it."""
    if _is_superior(low, high, test):
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
    text, n, effect = _sentence(arm, test.metric, measured), measured.n, test.effect
    if wins and verdict != SUPERIOR:  # by its margin
        margin = test.margin_effect
        message = f"{text}, proven not worse than the champion by {margin:g} (evaluation.margin)."
        return Reason(code="non_inferior", message=message, observed=measured.low, limit=-margin, n=n)
    more = f"about {need.remaining} more {need.unit} are needed"
    message = {
        SUPERIOR: f"{text}, better than the champion.",
        EQUIVALENT: f"{text}, no difference that matters (±{effect:g}).",
        INFERIOR: f"{text}, worse than the champion.",
        UNDECIDED: f"{text}: {'the spread is not known yet' if need.remaining is None else more}.",
    }[verdict]
    if verdict == UNDECIDED:
        return Reason(code=verdict, message=message, observed=n, limit=need.units, n=n)
    return Reason(code=verdict, message=message, observed=measured.improvement, limit=effect, n=n)


def _sentence(arm: Arm, metric: str, measured: MeasuredEffect) -> str:
    return f"{arm.name}, {metric}: {measured.improvement:+.4g} [{measured.low:+.4g}, {measured.high:+.4g}]"


def _tripped(test: LiveTest, arm: Arm, guardrails: Mapping[str, Evidence]) -> tuple[Reason, ...]:
    """Return the guardrails that a challenger breaks; too few units break none."""
    broken = []
    level = GUARDRAIL_LEVEL / max(len(test.guardrails), 1) / len(test.challengers)
    for rail in (one for one in test.guardrails if one.metric in guardrails):
        evidence, most = guardrails[rail.metric], rail.most_worse
        measured = measure_effect(evidence, test, arm, alpha=level, scale=SCALE * most, hits=False)
        if not _too_few(test, measured) and math.isfinite(measured.high) and measured.high < -most:
            message = f"{_sentence(arm, rail.metric, measured)}, worse by more than {most:g}."
            observed = measured.improvement
            broken.append(
                Reason(code="guardrail", message=message, observed=observed, limit=-most, n=measured.n)
            )
    return tuple(broken)


# What follows from an analysis: the test goes on, or how it ends.

ALREADY_CHAMPION = "already_champion"
"""Code of the reason that a challenger is champion, so that nothing is left to promote."""
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
    """What is to be done after an analysis."""

    GO_ON = "go_on"
    PROMOTE = "promote"
    KEEP = "keep"
    EXPIRE = "expire"
    ABORT = "abort"


@dataclass(frozen=True, kw_only=True)
class Conclusion(Struct):
    """What follows from an analysis."""

    action: Action
    """``promote`` the winner, ``keep`` the champion (no challenger can win any more), ``expire`` (kept, for time is
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
    test: LiveTest, analysis: LiveTestAnalysis, *, champion: int | None, tripped: Sequence[Reason] = ()
) -> Conclusion:
    """Decide what follows from an analysis.

    Parameters
    ----------
    champion : int or None
        The version that is champion now: the evidence is about the control, and void when another was promoted.
    tripped : sequence of Reason
        Guardrails that the traffic broke (error rate, latency, shift of scores), and whatever else happened to the
        traffic and the champion since the test was created (`evergreen.tasks.core.ab_testing.ledger`).

    Returns
    -------
    Conclusion
        In this order: done, where a challenger is champion already (a promotion whose end was not written, or a
        person's); abort (the champion moved, a guardrail, a check that cannot recover), promote the best of
        those that satisfy the policy, keep where all are equivalent or inferior, expire at the longest duration and
        its follow-up, else go on.
    """
    results, control = analysis.results, test.control.version
    for arm in test.challengers:
        if arm.version is not None and arm.version == champion:
            message = f"Version {arm.version} is champion already."
            reason = Reason(code=ALREADY_CHAMPION, message=message, observed=arm.version)
            return Conclusion(action=Action.PROMOTE, winner=arm, reasons=(reason,))
    moved = [champion_moved(f"Version {champion} is champion now", champion, control)]
    explained = champion == control or any(reason.code == CHAMPION_MOVED for reason in tripped)
    rails = [reason for one in results for reason in one.tripped]
    unsound = {r.message: r for one in results for r in one.reasons if r.code in _BROKEN}
    if broken := (*([] if explained else moved), *tripped, *rails, *unsound.values()):
        return Conclusion(action=Action.ABORT, reasons=broken)
    winners = [one for one in results if one.promotes and one.arm.version is not None]
    if winners:
        winner = max(winners, key=lambda one: one.measured.improvement)
        return Conclusion(action=Action.PROMOTE, winner=winner.arm, reasons=winner.reasons)
    reasons = tuple(reason for one in results for reason in one.reasons)
    # an equivalent one can still win where equals are promoted
    settled = (INFERIOR,) if test.policy == "non_inferiority" else (EQUIVALENT, INFERIOR)
    if all(one.verdict in settled for one in results):
        return Conclusion(action=Action.KEEP, reasons=reasons)
    if analysis.now < test.end + test.lag:
        return Conclusion(action=Action.GO_ON, reasons=reasons)
    message = "The longest duration is over without a verdict: the champion is kept."
    expired = Reason(code="expired", message=message, observed=test.longest, limit=test.longest)
    return Conclusion(action=Action.EXPIRE, reasons=(expired, *reasons))


def end_now(conclusion: Conclusion) -> Conclusion:
    """Return how a test that could go on ends when a person ends it: the champion is kept."""
    reason = Reason(code="ended_by_hand", message="Ended by hand before a verdict: the champion is kept.")
    return Conclusion(action=Action.KEEP, reasons=(reason, *conclusion.reasons))
