"""The definition of a live test: fixed when it is created, so that nothing in it can follow the results."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.core.ab.sound import ARMS, BLOCK, ENTITY, PAIRED, ROW, check_definition
from tasks.core.stats.sequential import SCALE
from tasks.core.stats.sequential_counts import mixture_concentration

__all__ = ["ARMS", "BLOCK", "ENTITY", "PAIRED", "ROW", "SPLIT_LEVEL", "Arm", "Guardrail", "LiveTest"]

SPLIT_LEVEL = 0.01
"""Level of the check of the split (sample-ratio mismatch)."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One side of a live test.

    Attributes
    ----------
    name : str
        The variant under which its predictions are logged.
    version : int or None
        Version that answers; None for an ensemble, which can be measured but not promoted.
    share : float
        Of the units of randomisation that it answers (``paired``: that it scores as well), in (0, 1].
    """

    name: str
    version: int | None
    share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Guardrail:
    """A metric that a challenger must not harm: the test ends when it is surely worse by more than ``most_worse``.

    ``most_worse`` is in the metric's own unit, > 0; ``clip`` as in `LiveTest`.
    """

    metric: str
    most_worse: float
    clip: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class LiveTest:
    """What is tested, on whom, for how long, and what counts as better.

    Attributes
    ----------
    name, hypothesis : str
        Its key within the model, and what is expected and why, for people.
    metric : str
        A mean over rows or groups (`tasks.core.ab.metric`).
    mode : str
        ``paired`` or ``arms``.
    control : Arm
        The champion as of the start.
    challengers : tuple of Arm
        One or more; ``alpha`` is divided between them.
    min_improvement : float
        The improvement worth finding, > 0: the test is planned for it, and a difference surely smaller is
        ``equivalent``. In the metric's own unit, or relative to ``baseline`` where that is given.
    baseline : float, optional
        The champion's metric before the start.
    start, longest : float
        Position on the clock from which predictions count, and the longest duration, both in the clock's unit.
    alpha : float
        Probability of any false winner, however often one looks.
    follow_up : float, optional
        In the clock's unit. A prediction counts when it is this old, with the outcome that was known by then: the
        same rule in every arm, so that outcomes which come early for a reason favour nobody. None: with any outcome,
        as soon as it is known.
    clip : (float, float), optional
        Bounds that values of an unbounded metric are clipped to, fixed beforehand (`choose_clip`).
    policy, margin, strict
        As `tasks.core.challenge.rule.Rule`: ``non_inferiority`` promotes what is surely not worse by ``margin``;
        ``strict`` demands that the whole interval lie beyond ``min_improvement``.
    power : float
        Probability that `still needed` plans for.
    guardrails : tuple of Guardrail
        Further metrics that end the test.
    unit : str
        What is independent. Of arms ``entity``: what is assigned (of a ranking the group; a row where none is named).
        Of pairs ``block``: all rows of a piece of the clock, which counts when it is over; ``entity``, where entities
        are declared independent; ``row``, where rows are: only then are right-or-wrong pairs counted one by one.
    block : float, optional
        Length of a block in the clock's unit, from the start on.
    grace : float
        In the clock's unit. A pair counts when it is so old: shadows answer later.

    Raises
    ------
    InputError
        When anything of it is not allowed.
    """

    name: str
    hypothesis: str
    metric: str
    mode: str
    control: Arm
    challengers: tuple[Arm, ...]
    min_improvement: float
    start: float
    longest: float
    alpha: float = 0.05
    baseline: float | None = None
    follow_up: float | None = None
    clip: tuple[float, float] | None = None
    policy: str = "superiority"
    margin: float = 0.0
    strict: bool = False
    power: float = 0.8
    guardrails: tuple[Guardrail, ...] = ()
    unit: str = ENTITY
    block: float | None = None
    grace: float = 0.0

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
        """Return up to which position predictions count at a look: old enough, and of a block that is over."""
        until = min(now - self.lag, self.end)
        if self.block is None or until < self.start:
            return until
        over = math.floor((until - self.start) / self.block + 1e-9)
        return math.nextafter(self.start + over * self.block, -math.inf)
