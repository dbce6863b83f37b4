"""The definition of a live test: fixed when it is created, so that nothing in it can follow the results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from evergreen.tasks.core.errors import InputError, unknown_name
from evergreen.tasks.core.stats.sequential import SCALE
from evergreen.tasks.core.stats.sequential_counts import mixture_concentration
from evergreen.tasks.core.traffic.variant import require_name, require_version
from evergreen.tasks.core.verdict import Reason

# What a live test may be: everything of its definition that is refused, by name.


PAIRED, ARMS = "paired", "arms"
MODES = (PAIRED, ARMS)
"""``paired``: a shadow scores the champion's rows. ``arms``: each row is answered by one of them."""
POLICIES = ("superiority", "non_inferiority")
ROW, ENTITY, BLOCK = "row", "entity", "block"
UNITS = (ROW, ENTITY, BLOCK)
CHAMPION_MOVED = "champion_moved"
"""Code of the reason that another version than the control is champion, or was meanwhile."""


def check_definition(test: LiveTest) -> None:
    """Refuse what makes no live test.

    Raises
    ------
    InputError
        Naming what is not allowed.
    """
    require_name(test.name, "The live test's name")
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
    _check_unit(test)
    _check_arms(test)
    _check_numbers(test)
    _check_clips(test)


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
    margin = test.margin if test.policy == "non_inferiority" else 1.0
    positive = {"min_improvement": test.min_improvement, "longest duration": test.longest, "margin": margin}
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise InputError(f"The live test's {name} is {value}. Allowed: a number above 0.")
    for name, value in (("alpha", test.alpha), ("power", test.power)):
        if not 0 < value < 1:
            raise InputError(f"The live test's {name} is {value}. Allowed: between 0 and 1, both excluded.")
    for name, value in (("follow-up", test.follow_up or 0.0), ("grace", test.grace)):
        if not 0 <= value < math.inf:
            raise InputError(f"The live test's {name} is {value}. Allowed: a length from 0 on.")
    if not math.isfinite(test.start):
        raise InputError(f"The live test starts at {test.start}. Allowed: a position on the model's clock.")
    if test.baseline is not None and (test.baseline == 0 or not math.isfinite(test.baseline)):
        zero = ", which makes nothing better or worse" if test.baseline == 0 else ""
        raise InputError(
            f"The live test's baseline is {test.baseline}{zero}. Allowed: a number other than 0. Give "
            "min_improvement in the metric's own unit instead, without a baseline."
        )


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


SPLIT_LEVEL = 0.01
"""Level of the check of the split (sample-ratio mismatch)."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a live test."""

    name: str
    """The variant under which its predictions are logged."""
    version: int | None
    """Version that answers; None for an ensemble, which can be measured but not promoted."""
    share: float = 1.0
    """Of the units of randomisation that it answers (``paired``: that it scores as well), in (0, 1]."""

    def to_reference(self) -> dict[str, Any]:
        """Return which arm it is, as results name it: ``variant`` and ``version``."""
        return {"variant": self.name, "version": self.version}


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """A metric that a challenger must not harm: the test ends when it is proven worse by more than ``most_worse``.

    ``most_worse`` is in the metric's own unit, > 0; ``clip`` as in `LiveTest`.
    """

    metric: str
    most_worse: float
    clip: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class LiveTest:
    """What is tested, on which entities, for how long, and what counts as better.

    Raises
    ------
    InputError
        When anything of it is not allowed.
    """

    name: str
    hypothesis: str
    """Its key within the model, and what is expected and why, for people."""
    metric: str
    """A mean over rows or groups (`evergreen.tasks.core.ab_testing.metric`)."""
    mode: str
    """``paired`` or ``arms``."""
    control: Arm
    """The champion as of the start."""
    challengers: tuple[Arm, ...]
    """One or more; ``alpha`` is divided between them."""
    min_improvement: float
    """The improvement worth finding, > 0: the test is planned for it, and a difference proven smaller is
    ``equivalent``. In the metric's own unit, or relative to ``baseline`` where that is given."""
    start: float
    longest: float
    """Position on the clock from which predictions count, and the longest duration, both in the clock's
    unit."""
    alpha: float = 0.05
    """Probability of any false winner, however often it is analysed."""
    baseline: float | None = None
    """The champion's metric before the start."""
    follow_up: float | None = None
    """In the clock's unit. A prediction counts when it is this old, with the outcome that was known by then:
    the same rule in every arm, so that outcomes which come early for a reason favour no arm. None: with any
    outcome, as soon as it is known."""
    clip: tuple[float, float] | None = None
    """Bounds that values of an unbounded metric are clipped to, fixed beforehand (`choose_clip`)."""
    policy: str = "superiority"
    margin: float = 0.0
    strict: bool = False
    """As `evergreen.tasks.core.challenge.decision.Rule`: ``non_inferiority`` promotes what is proven not
    worse by ``margin``; ``strict`` demands that the whole interval lie beyond ``min_improvement``."""
    power: float = 0.8
    """Probability that `still needed` plans for."""
    guardrails: tuple[Guardrail, ...] = ()
    """Further metrics that end the test."""
    unit: str = ENTITY
    """What is independent. Of arms ``entity``: what is assigned (of a ranking the group; a row where none is
    named). Of pairs ``block``: all rows of a piece of the clock, which counts when it is over; ``entity``,
    where entities are declared independent; ``row``, where rows are: only then are right-or-wrong pairs
    counted one by one."""
    block: float | None = None
    """Length of a block in the clock's unit, from the start on."""
    grace: float = 0.0
    """In the clock's unit. A pair counts when it is so old: shadows answer later."""

    def __post_init__(self) -> None:
        check_definition(self)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """The control and the challengers."""
        return (self.control, *self.challengers)

    @property
    def effect(self) -> float:
        """``min_improvement`` in the metric's own unit."""
        return self.min_improvement * (1.0 if self.baseline is None else abs(self.baseline))

    @property
    def margin_effect(self) -> float:
        """``margin`` in the metric's own unit."""
        return self.margin * (1.0 if self.baseline is None else abs(self.baseline))

    @property
    def planned(self) -> float:
        """Distance between the truth that is planned for and the bound that must be cleared.

        Planned for is ``min_improvement`` (twice that where ``strict``), or no difference (non-inferiority).
        """
        return self.margin_effect if self.policy == "non_inferiority" else self.effect

    @property
    def alpha_each(self) -> float:
        """Alpha of one challenger."""
        return self.alpha / len(self.challengers)

    @property
    def scale(self) -> float:
        """Scale of the confidence sequence's mixture."""
        return SCALE * self.planned

    @property
    def concentration(self) -> float:
        """Concentration of the mixture over discordant pairs."""
        return mixture_concentration(self.effect)

    @property
    def end(self) -> float:
        """Position at which it has lasted longest."""
        return self.start + self.longest

    @property
    def lag(self) -> float:
        """How old a prediction must be to count."""
        return max(self.follow_up or 0.0, self.grace if self.mode == PAIRED else 0.0)

    def counted_until(self, now: float) -> float:
        """Return up to which position predictions count at an analysis: old enough, and of a block that is over."""
        until = min(now - self.lag, self.end)
        if self.block is None or until < self.start:
            return until
        over = math.floor((until - self.start) / self.block + 1e-9)
        return math.nextafter(self.start + over * self.block, -math.inf)


def champion_moved(what: str, version: int | None, control: int | None) -> Reason:
    """Return the reason that another version is, or was, champion than the test compares with."""
    message = f"{what}; the test compares with version {control}. Begin a new test."
    return Reason(code=CHAMPION_MOVED, message=message, observed=version, limit=control)


# A live test as the ledger keeps it, and back.


_KEYS = {one.name for one in fields(LiveTest)}
_OPTIONAL = ("baseline", "follow_up", "block")
_NUMBERS = ("min_improvement", "start", "longest", "alpha", "margin", "power", "grace", *_OPTIONAL)
_NEEDED = {one.name for one in fields(LiveTest) if one.default is MISSING}


def live_test_payload(test: LiveTest) -> dict[str, Any]:
    """Return the JSON form of a live test."""
    return asdict(test)


def read_live_test(plain: Mapping[str, Any]) -> LiveTest:
    """Return the live test written by ``live_test_payload``, or by hand.

    Raises
    ------
    InputError
        Naming the key that is missing, unknown or not allowed.
    """
    for name in plain:
        if name not in _KEYS:
            raise unknown_name("key", str(name), _KEYS, where="the live test")
    missing = sorted(_NEEDED - set(plain))
    if missing:
        raise InputError(f"The live test lacks {', '.join(missing)}. Name each of them.")
    given = dict(plain)
    given["control"] = _arm(given["control"])
    given["challengers"] = tuple(_arm(one) for one in _listed(given["challengers"], "challengers"))
    given["guardrails"] = tuple(_guardrail(one) for one in _listed(given.get("guardrails", ()), "guardrails"))
    given["clip"] = _clip(given.get("clip"))
    numbers = [
        name for name in _NUMBERS if name in given and (name not in _OPTIONAL or given[name] is not None)
    ]
    return LiveTest(**given | {name: _number(given[name], name) for name in numbers})


def _arm(plain: Any) -> Arm:
    if not _has_keys(plain, {"name", "version"}, {"share"}):
        raise InputError(f"Arm {plain!r} cannot be read. Allowed: name, version and share.")
    version = plain["version"]
    if version is not None:
        require_version(version, f"arm '{plain['name']}'")
    return Arm(name=str(plain["name"]), version=version, share=_number(plain.get("share", 1.0), "share"))


def _guardrail(plain: Any) -> Guardrail:
    if not _has_keys(plain, {"metric", "most_worse"}, {"clip"}):
        raise InputError(f"Guardrail {plain!r} cannot be read. Allowed: metric, most_worse and clip.")
    most = _number(plain["most_worse"], "most_worse")
    return Guardrail(metric=str(plain["metric"]), most_worse=most, clip=_clip(plain.get("clip")))


def _has_keys(plain: Any, needed: set[str], optional: set[str]) -> bool:
    return isinstance(plain, Mapping) and needed <= set(plain) <= needed | optional


def _clip(plain: Any) -> tuple[float, float] | None:
    if plain is None:
        return None
    bounds = [_number(one, "clip") for one in _listed(plain, "clip")]
    if len(bounds) != 2:
        raise InputError(f"The live test is clipped to {plain!r}. Allowed: two numbers, the lower first.")
    return bounds[0], bounds[1]


def _listed(plain: Any, name: str) -> list[Any]:
    if not isinstance(plain, list | tuple):
        raise InputError(f"The live test's {name} is {plain!r}. Allowed: a list.")
    return list(plain)


def _number(plain: Any, name: str) -> float:
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise InputError(f"The live test's {name} is {plain!r}. Allowed: a number.")
    return float(plain)
