"""The traffic plan of a model: which variants answer, which score as shadows, and the cells of each arm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any

from evergreen.tasks.core.config.serving import CELLS
from evergreen.tasks.core.errors import InputError, unknown_name
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.traffic.variant import Role, Variant

# Which cells of the traffic a variant has, and how they grow and shrink without moving others.


Ranges = tuple[tuple[int, int], ...]
"""Half-open ranges of cells, ascending, disjoint and not touching."""


def count_cells(ranges: Ranges) -> int:
    """Return how many cells they hold."""
    return sum(end - begin for begin, end in ranges)


def join_ranges(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the same cells in order, touching ranges made one.

    >>> join_ranges([(5, 9), (0, 5), (20, 30)])
    ((0, 9), (20, 30))
    """
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(one for one in ranges if one[0] < one[1]):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return tuple(joined)


def free_ranges(used: Iterable[tuple[int, int]], *, cells: int) -> Ranges:
    """Return the cells that are not in use.

    >>> free_ranges([(0, 5), (20, 30)], cells=40)
    ((5, 20), (30, 40))
    """
    free, place = [], 0
    for begin, end in join_ranges(used):
        free.append((place, begin))
        place = end
    return join_ranges([*free, (place, cells)])


def first_cells(ranges: Ranges, count: int) -> Ranges:
    """Return the lowest ``count`` of these cells.

    >>> first_cells(((0, 5), (20, 30)), 7)
    ((0, 5), (20, 22))
    """
    first = []
    for begin, end in ranges:
        if count <= 0:
            break
        first.append((begin, min(end, begin + count)))
        count -= end - begin
    return tuple(first)


def lay_out_ranges(wanted: Sequence[int], before: Sequence[Ranges], *, cells: int) -> list[Ranges]:
    """Return cells for each arm: those it had, as many as it wants; what is missing comes from the free ones.

    Nobody moves from one arm to another: whoever loses cells gives them to the free ones (the champion) first, and
    a growing arm keeps all it had.

    Parameters
    ----------
    wanted : sequence of int
        Cells of each arm; together at most ``cells``.
    before : sequence of Ranges
        What each arm had; empty ranges for a new one.
    """
    laid = [first_cells(had, count) for had, count in zip(before, wanted, strict=True)]
    for place, count in enumerate(wanted):
        missing = count - count_cells(laid[place])
        if missing > 0:
            fresh = first_cells(_unused_first(laid, before, cells), missing)
            laid[place] = join_ranges([*laid[place], *fresh])
    return laid


def _unused_first(laid: Sequence[Ranges], before: Sequence[Ranges], cells: int) -> Ranges:
    """Return the free cells, those before all others that belonged to no arm."""
    used, owned = chain.from_iterable(laid), chain.from_iterable(before)
    free = free_ranges(used, cells=cells)
    given_up = join_ranges((max(a, c), min(b, d)) for (a, b), (c, d) in product(free, owned))
    untouched = free_ranges([*given_up, *free_ranges(free, cells=cells)], cells=cells)
    return (*untouched, *given_up)


MOST_VARIANTS = 16
"""Most variants in one plan, the champion among them."""
WHOLE: Ranges = ((0, CELLS),)


@dataclass(frozen=True, kw_only=True)
class TrafficPlan(Struct):
    """Variants with roles and shares, and the cells that each has. Build it by ``plan_traffic``."""

    variants: tuple[Variant, ...]
    """The champion first; answering shares add up to 1."""
    cells: tuple[Ranges, ...]
    """Cells of each variant: those of champion and challengers are disjoint and cover all; shadows each have
    the lowest cells of a second, independent cut, so that smaller shadows score a part of the larger ones'
    rows."""
    salt: str
    """What is hashed before the entity: plans with different salts assign independently."""

    def __post_init__(self) -> None:
        _check_variants(self.variants, self.salt)
        _check_cells(self.variants, self.cells)

    @property
    def champion(self) -> Variant:
        """Who answers all that no challenger does."""
        return self.variants[0]

    @property
    def challengers(self) -> tuple[Variant, ...]:
        """Who answers beside the champion."""
        return tuple(one for one in self.variants if one.role is Role.CHALLENGER)

    @property
    def shadows(self) -> tuple[Variant, ...]:
        """Who scores and is logged, and never answers."""
        return tuple(one for one in self.variants if one.role is Role.SHADOW)

    @property
    def is_plain(self) -> bool:
        """True when the champion is all there is."""
        return len(self.variants) == 1

    @property
    def versions(self) -> frozenset[int]:
        """Every version that must be loaded beside @champion."""
        return frozenset(version for variant in self.variants for version in variant.versions)

    def variant(self, name: str) -> Variant:
        """Return a variant by name; ``UnknownName`` when there is none."""
        named = {one.name: one for one in self.variants}
        if name not in named:
            raise unknown_name("variant", name, named, where="the traffic plan")
        return named[name]

    def with_share(self, name: str, share: float) -> TrafficPlan:
        """Return the plan with another share of one challenger or shadow; the champion gives or takes."""
        changed = replace(self.variant(name), share=share)
        others = [changed if one.name == name else one for one in self.variants[1:]]
        return plan_traffic(others, salt=self.salt, before=self)

    def without(self, *names: str) -> TrafficPlan:
        """Return the plan without some variants; the champion takes what they had."""
        others = [one for one in self.variants[1:] if one.name not in names]
        return plan_traffic(others, salt=self.salt, before=self)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        pairs = zip(self.variants, self.cells, strict=True)
        listed = [{**one.to_dict(), "cells": [list(pair) for pair in ranges]} for one, ranges in pairs]
        return {"salt": self.salt, "variants": listed}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TrafficPlan:
        """Return the plan written by ``to_dict``; ``InputError`` when it is none."""
        try:
            listed = list(plain["variants"])
            cells = tuple(tuple((int(a), int(b)) for a, b in one["cells"]) for one in listed)
            salt = plain["salt"]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"Traffic plan {plain!r} cannot be read ({error!r}). Allowed: salt, and variants with cells."
            ) from error
        return cls(variants=tuple(Variant.from_dict(one) for one in listed), cells=cells, salt=salt)


def plain_plan(*, salt: str) -> TrafficPlan:
    """Return the plan in which @champion answers everything."""
    return plan_traffic((), salt=salt)


def plan_traffic(variants: Sequence[Variant], *, salt: str, before: TrafficPlan | None = None) -> TrafficPlan:
    """Lay variants out on the traffic; the champion gets what no challenger does.

    Parameters
    ----------
    variants : sequence of Variant
        Challengers and shadows; the champion is added.
    salt : str
        What is hashed before the entity.
    before : TrafficPlan | None
        The plan so far: with the same salt, who is in an arm stays there while the arm does not shrink.

    Raises
    ------
    InputError
        When shares add up to more than 1, a name occurs twice, or there are too many variants.
    """
    answering = [one for one in variants if one.role is Role.CHALLENGER]
    together = sum(one.cells for one in answering)
    if together > CELLS:
        named = ", ".join(f"{one.name} {one.share:.2%}" for one in answering)
        raise InputError(
            f"Shares of the challengers add up to {together / CELLS:.2%} ({named}). Allowed: 100 % at most; "
            "lower one of them."
        )
    had: dict[str, Ranges] = {}
    if before is not None and before.salt == salt:
        pairs = zip(before.variants, before.cells, strict=True)
        had = {one.name: ranges for one, ranges in pairs if one.role is Role.CHALLENGER}
    wanted, earlier = [one.cells for one in answering], [had.get(one.name, ()) for one in answering]
    laid = lay_out_ranges(wanted, earlier, cells=CELLS)
    by_name = {one.name: ranges for one, ranges in zip(answering, laid, strict=True)}
    champion = Variant(name=Role.CHAMPION.value, role=Role.CHAMPION, share=(CELLS - together) / CELLS)
    rest = free_ranges(chain.from_iterable(laid), cells=CELLS)
    cells = [
        by_name[one.name] if one.role is Role.CHALLENGER else first_cells(WHOLE, one.cells)
        for one in variants
    ]
    return TrafficPlan(variants=(champion, *variants), cells=(rest, *cells), salt=salt)


def _check_variants(variants: Sequence[Variant], salt: str) -> None:
    if not isinstance(salt, str) or not salt or "\0" in salt:
        raise InputError(
            f"Salt {salt!r} of a traffic plan is not allowed. Allowed: any text that is not empty."
        )
    roles = [one.role for one in variants]
    if roles[:1] != [Role.CHAMPION] or roles.count(Role.CHAMPION) > 1:
        raise InputError(
            "A traffic plan begins with the champion and has one: who else answers is a challenger."
        )
    if len(variants) > MOST_VARIANTS:
        raise InputError(
            f"{len(variants)} variants are too many. Allowed: {MOST_VARIANTS}, champion included."
        )
    names = [one.name for one in variants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Variant names {twice} occur twice. Allowed: each once; rename one of them.")


def _check_cells(variants: Sequence[Variant], cells: Sequence[Ranges]) -> None:
    if len(cells) != len(variants):
        raise InputError(f"A traffic plan of {len(variants)} variants has cells of {len(cells)}.")
    for variant, ranges in zip(variants, cells, strict=True):
        if count_cells(ranges) != variant.cells or join_ranges(ranges) != ranges:
            raise InputError(
                f"Cells {ranges} of variant '{variant.name}' are not its share of {variant.share:.2%}. "
                "Plans are built by plan_traffic; set the traffic again."
            )
    pairs = zip(variants, cells, strict=True)
    answering = [one for variant, own in pairs if variant.role is not Role.SHADOW for one in own]
    if count_cells(tuple(answering)) != CELLS or join_ranges(answering) != WHOLE:
        raise InputError("Cells of a traffic plan overlap or leave gaps; set the traffic again.")
