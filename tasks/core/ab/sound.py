"""What a live test may be: everything of its definition that is refused, by name."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from tasks.core.errors import InputError, unknown_name

if TYPE_CHECKING:
    from tasks.core.ab.definition import LiveTest

PAIRED, ARMS = "paired", "arms"
MODES = (PAIRED, ARMS)
"""``paired``: a shadow scores the champion's rows. ``arms``: each row is answered by one of them."""
POLICIES = ("superiority", "non_inferiority")
ROW, ENTITY, BLOCK = "row", "entity", "block"
UNITS = (ROW, ENTITY, BLOCK)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")


def check_definition(test: LiveTest) -> None:
    """Refuse what makes no live test.

    Raises
    ------
    InputError
        Naming what is not allowed.
    """
    _check_words(test)
    _check_unit(test)
    _check_arms(test)
    _check_numbers(test)


def _check_words(test: LiveTest) -> None:
    if not isinstance(test.name, str) or not _NAME.fullmatch(test.name):
        raise InputError(
            f"The live test's name {test.name!r} is not allowed. Allowed: 1 to 64 letters, digits, '_', '.', '-', "
            "beginning with a letter or digit."
        )
    if not isinstance(test.hypothesis, str) or not test.hypothesis.strip():
        raise InputError(
            "The live test has no hypothesis. Say in a sentence what you expect and why, before the data can."
        )
    if test.mode not in MODES:
        raise unknown_name("mode", str(test.mode), MODES, where="the live test")
    if test.policy not in POLICIES:
        raise unknown_name("policy", str(test.policy), POLICIES, where="the live test")
    if test.strict and test.policy == "non_inferiority":
        raise InputError("A live test cannot be strict under non_inferiority. Leave out one of the two.")


def _check_unit(test: LiveTest) -> None:
    if test.unit not in UNITS:
        raise unknown_name("unit", str(test.unit), UNITS, where="the live test")
    if test.mode == ARMS and test.unit != ENTITY:
        raise InputError(
            f"The unit of arms is {test.unit!r}. Allowed: 'entity', for arms are drawn by it. Leave the unit out."
        )
    if (test.unit == BLOCK) != (test.block is not None):
        raise InputError(
            f"The live test's unit is {test.unit!r} and its block {test.block}. Allowed: a block's length with the "
            "unit 'block', and with no other."
        )
    if test.block is not None and not 0 < test.block <= test.longest:
        raise InputError(
            f"The live test's block is {test.block}. Allowed: above 0, up to its longest duration ({test.longest:g})."
        )


def _check_arms(test: LiveTest) -> None:
    if not test.challengers:
        raise InputError("The live test has no challenger. Name at least one version beside the champion.")
    names = [arm.name for arm in test.arms]
    if len(set(names)) < len(names):
        raise InputError(f"The live test names a variant twice: {', '.join(names)}. Give each its own name.")
    versions = [arm.version for arm in test.arms if arm.version is not None]
    if len(set(versions)) < len(versions):
        raise InputError(
            f"The live test has version {max(versions, key=versions.count)} twice. Compare different versions."
        )
    for arm in test.arms:
        if not 0 < arm.share <= 1:
            raise InputError(
                f"The share of '{arm.name}' is {arm.share}. Allowed: above 0, up to 1 (0.1 is a tenth)."
            )
    total = math.fsum(arm.share for arm in test.arms)
    if test.mode == ARMS and total > 1 + 1e-9:
        raise InputError(
            f"The shares of the arms add up to {total:g}. Allowed: at most 1. Lower one of them."
        )


def _check_numbers(test: LiveTest) -> None:
    zero = ", which makes nothing better or worse" if test.baseline == 0 else ""
    positive = {"min_improvement": test.min_improvement, "longest duration": test.longest}
    if test.policy == "non_inferiority":
        positive["margin"] = test.margin
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise InputError(f"The live test's {name} is {value}. Allowed: a number above 0.")
    if not math.isfinite(test.start):
        raise InputError(f"The live test starts at {test.start}. Allowed: a position on the model's clock.")
    if test.baseline is not None and (test.baseline == 0 or not math.isfinite(test.baseline)):
        raise InputError(
            f"The live test's baseline is {test.baseline}{zero}. Allowed: a number other than 0. Give "
            "min_improvement in the metric's own unit instead, without a baseline."
        )
    for name, value in (("alpha", test.alpha), ("power", test.power)):
        if not 0 < value < 1:
            raise InputError(f"The live test's {name} is {value}. Allowed: between 0 and 1, both excluded.")
    if test.follow_up is not None and not 0 <= test.follow_up < math.inf:
        raise InputError(f"The live test's follow-up is {test.follow_up}. Allowed: a length from 0 on.")
    if not 0 <= test.grace < math.inf:
        raise InputError(f"The live test's grace is {test.grace}. Allowed: a length from 0 on.")
    _check_clips(test)


def _check_clips(test: LiveTest) -> None:
    clips = {test.metric: test.clip, **{rail.metric: rail.clip for rail in test.guardrails}}
    for metric, clip in clips.items():
        if clip is not None and not (len(clip) == 2 and -math.inf < clip[0] < clip[1] < math.inf):
            raise InputError(
                f"'{metric}' is clipped to {clip}. Allowed: two finite numbers, the lower first."
            )
    for rail in test.guardrails:
        if not 0 < rail.most_worse < math.inf:
            raise InputError(
                f"The guardrail '{rail.metric}' allows {rail.most_worse} worse. Allowed: a number above 0."
            )
