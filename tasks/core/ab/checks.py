"""What must be in order before any winner is named: the split, the labels, the answers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from tasks.core.ab.definition import ARMS, BLOCK, SPLIT_LEVEL, LiveTest
from tasks.core.ab.evidence import Evidence
from tasks.core.challenge.dependence import MIN_BLOCKS
from tasks.core.stats.sequential_counts import log_split_e_value
from tasks.core.verdict import Reason

MIN_UNITS = {"arms": 200, "paired": 30, "block": MIN_BLOCKS}
"""Units on the smaller side (pairs, blocks) below which nothing is judged: spreads are not known yet."""
_ASTRAY_LEVEL = SPLIT_LEVEL / 2
_MOST_ASTRAY = 0.01
"""Share of units in two arms, of answers that failed, of rows that a shadow missed, which is still put up with."""
PERHAPS_ASTRAY = "perhaps_astray"
"""Code of the reason that more than this was seen, which may be chance: nobody wins, and the test goes on."""
_MATURE = 0.8
"""Share of rows with an outcome from which outcomes that come as they come are judged."""


def least_units(test: LiveTest) -> int:
    """Return how many units the smaller side must have before anything is judged."""
    return MIN_UNITS[BLOCK if test.unit == BLOCK else test.mode]


def check_test(evidence: Evidence, test: LiveTest) -> tuple[Reason, ...]:
    """Return what forbids to name a winner; empty when all is in order.

    ``sample_ratio_mismatch``: the units do not fall into the arms as declared; ``labels_differ``: they do, but
    their outcomes do not; ``units_cross``: one unit in several arms; ``answers_fail``: a side's metric is
    undefined; ``shadow_misses``: rows that the shadow should have scored and has not; ``immature``: without a
    follow-up, too few outcomes have come yet. All but the last are tested at half of `SPLIT_LEVEL` by an e-value,
    at any time. What is above its limit and not surely so is ``perhaps_astray``.
    """
    found = _check_arms(evidence, test) if test.mode == ARMS else _check_shadows(evidence, test)
    return (*found, *_check_answers(evidence, test), *_check_maturity(evidence, test))


def split_facts(evidence: Evidence, test: LiveTest) -> dict[str, object]:
    """Return the check of the split as it is shown: units due and expected by arm, and its p-value at any time."""
    if test.mode != ARMS:
        return {}
    counts = [evidence.side(arm.name).assigned() for arm in test.arms]
    whole = math.fsum(arm.share for arm in test.arms)
    log_e = float(log_split_e_value(counts, [arm.share for arm in test.arms]))
    return {
        "units": {arm.name: count for arm, count in zip(test.arms, counts, strict=True)},
        "expected": {arm.name: sum(counts) * arm.share / whole for arm in test.arms},
        "p_value": min(1.0, math.exp(-log_e)),
        "level": SPLIT_LEVEL / 2,
        "crossed": len(evidence.crossed()),
    }


def _check_arms(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    shares = [arm.share for arm in test.arms]
    sides = [evidence.side(arm.name) for arm in test.arms]
    assigned, labelled = [side.assigned() for side in sides], [side.labelled() for side in sides]
    names = ", ".join(arm.name for arm in test.arms)
    split = float(log_split_e_value(assigned, shares))
    if split >= math.log(2 / SPLIT_LEVEL):
        yield Reason(
            code="sample_ratio_mismatch",
            message=f"{names} have {_listed(assigned)} units; declared are {_listed(shares)}. Something sends or logs "
            "units differently by arm: find it, and begin a new test.",
            observed=min(1.0, math.exp(-split)), limit=SPLIT_LEVEL / 2, n=sum(assigned),
        )  # fmt: skip
    elif (late := float(log_split_e_value(labelled, shares))) >= math.log(2 / SPLIT_LEVEL):
        yield Reason(
            code="labels_differ",
            message=f"{names} have {_listed(labelled)} units with an outcome of {_listed(assigned)}: outcomes come in "
            "one arm more than in another, so that those known are not alike.",
            observed=min(1.0, math.exp(-late)), limit=SPLIT_LEVEL / 2, n=sum(labelled),
        )  # fmt: skip
    crossed, whole = len(evidence.crossed()), sum(assigned)
    yield from _astray(
        "units_cross",
        f"{crossed} of {whole} units were answered by more than one arm. Assign by the entity (rankings: by the "
        "group), and name it in each request.",
        odd=crossed, whole=whole,
    )  # fmt: skip


def _check_shadows(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    for arm in test.challengers:
        counts = evidence.side(arm.name).counts
        whole, missed = counts["due"], counts["unpaired"]
        yield from _astray(
            "shadow_misses",
            f"Shadow '{arm.name}' has no answer to {missed} of {whole} rows; it should score {arm.share:.0%}. Those it "
            "has are not a fair sample.",
            odd=missed, whole=whole, most=max(1 - arm.share, _MOST_ASTRAY),
        )  # fmt: skip


def _check_answers(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    for name, side in evidence.sides.items():
        undefined, labelled = side.counts["undefined"], side.counts["labelled"]
        yield from _astray(
            "answers_fail",
            f"'{test.metric}' is undefined on {undefined} of {labelled} labelled rows of '{name}' (no score, no value, "
            "an unknown class). Mend the model or the data, and begin a new test.",
            odd=undefined, whole=labelled,
        )  # fmt: skip


def _astray(code: str, message: str, *, odd: int, whole: int, most: float = _MOST_ASTRAY) -> Iterator[Reason]:
    """Yield the reason where more than a share went astray: surely so, at any time, or only by what was seen so far."""
    if odd <= most * whole:
        return
    sure = float(log_split_e_value([whole - odd, odd], [1 - most, most])) >= -math.log(_ASTRAY_LEVEL)
    more = "" if sure else " So few may be chance: no winner is named, and the test goes on."
    yield Reason(
        code=code if sure else PERHAPS_ASTRAY, message=f"{message}{more}", observed=odd / whole, limit=most, n=whole
    )  # fmt: skip


def _check_maturity(evidence: Evidence, test: LiveTest) -> Iterator[Reason]:
    """Yield a reason where those outcomes that came first may not be like those to come."""
    rows = sum(side.counts["due"] for side in evidence.sides.values())
    known = sum(side.counts["labelled"] for side in evidence.sides.values())
    if test.follow_up is None and known < _MATURE * rows:
        yield Reason(
            code="immature",
            message=f"{known} of {rows} rows have an outcome ({known / rows:.0%}), and which come first may not be "
            f"chance. A verdict waits for {_MATURE:.0%}; a follow-up would let old rows count by a fixed rule.",
            observed=known / rows, limit=_MATURE, n=rows,
        )  # fmt: skip


def _listed(numbers: list[float] | list[int]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
