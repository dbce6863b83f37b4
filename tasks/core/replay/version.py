"""A version in a replay: what scores, and what was frozen with it; the throne it may come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from tasks.core.challenge.opponents import Opponents
from tasks.core.contract.contract import Contract
from tasks.core.data.clock import format_position, parse_position
from tasks.core.learning.scorer import Scorer
from tasks.core.records.frozen import Frozen


@dataclass(frozen=True, kw_only=True, eq=False)
class Version:
    """One version.

    Attributes
    ----------
    number : int
        Counted as the registry counts: every training and every refit takes one.
    model : Scorer
        What scores.
    freeze : callable
        Makes the reference, which takes a cross-validation, at first use: a challenger that is refused needs none.
    rows : int
        Rows it learned from.
    contract : Contract | None
        Learned from its training rows; None where contracts are not checked.
    judged_as : int | None
        The version a refit was judged as.
    """

    number: int
    model: Scorer
    freeze: Callable[[], Frozen]
    rows: int
    contract: Contract | None = None
    judged_as: int | None = None

    @cached_property
    def frozen(self) -> Frozen:
        """Return the reference as it is read back."""
        return self.freeze().read_back()

    @property
    def learned_to(self) -> float | None:
        """Return where its training ended, as its tag tells."""
        plan = self.model.plan
        if plan.training is None:
            return None
        return parse_position(format_position(plan.training.end, clock=plan.clock), clock=plan.clock)


@dataclass(frozen=True, kw_only=True, eq=False)
class Throne:
    """Who reigns.

    Attributes
    ----------
    champion : Version | None
        None on an empty throne.
    twin : Version | None
        The version that the champion was judged as, if that is another.
    since : datetime | None
        When the champion came.
    made : int
        Versions made so far.
    """

    champion: Version | None = None
    twin: Version | None = None
    since: datetime | None = None
    made: int = 0

    def opponents(self, challenger: Version) -> Opponents:
        """Return who meets whom."""
        return Opponents(
            challenger=challenger.number,
            champion=self.champion.number if self.champion else None,
            twin=self.twin.number if self.twin else None,
        )

    def models(self, challenger: Version) -> dict[int, Scorer]:
        """Return the challenger and all who may defend, by number."""
        present = [one for one in (challenger, self.champion, self.twin) if one is not None]
        return {one.number: one.model for one in present}

    def crowned(self, heir: Version, judged: Version, *, at: datetime) -> Throne:
        """Return the throne with a new champion."""
        twin = judged if heir.judged_as == judged.number else None
        return replace(self, champion=heir, twin=twin, since=at)

    def numbered(self) -> Throne:
        """Return the throne after one more version was made."""
        return replace(self, made=self.made + 1)
