"""Sticky assignment: which variant answers an entity, and which shadows score along, by a hash of its key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from numbers import Integral, Real

import numpy as np

from evergreen.tasks.core.config.serving import CELLS
from evergreen.tasks.core.traffic.plan import Ranges, TrafficPlan
from evergreen.tasks.core.traffic.variant import Role, Variant

_LOW = 0xFFFFFFFF
_HALF = 32


@dataclass(frozen=True, slots=True)
class Route:
    """Which variant answers and which shadows score along; the same object for all that are routed alike."""

    index: int
    """Place of the answering variant in ``plan.variants``."""
    variant: Variant
    """Who answers."""
    shadows: tuple[Variant, ...]
    """Who scores along."""


class Assigner:
    """A plan made ready for the hot path: one hash and two look-ups a row (about 1 µs).

    The key is hashed by blake2b after the plan's salt, to 64 bits. The lower half names one of 10,000 cells, which
    belongs to the champion or a challenger; the upper half decides on shadows, so that which entities are shadowed is
    independent of which version answers.

    Parameters
    ----------
    plan : TrafficPlan
        The plan.
    """

    def __init__(self, plan: TrafficPlan) -> None:
        self.plan = plan
        self._salted = blake2b(f"{plan.salt}\0".encode("utf-8", "surrogatepass"), digest_size=8)
        pairs = zip(plan.variants, plan.cells, strict=True)
        self._arms = _table([ranges if one.role is not Role.SHADOW else () for one, ranges in pairs])
        self._levels, sets = _shadow_levels(plan)
        self._routes = tuple(tuple(Route(n, one, few) for few in sets) for n, one in enumerate(plan.variants))

    def hash(self, key: str) -> int:
        """Return the 64-bit hash of a key under this plan's salt."""
        salted = self._salted.copy()
        salted.update(key.encode("utf-8", "surrogatepass"))
        return int.from_bytes(salted.digest(), "little")

    def route(self, key: str) -> Route:
        """Return which variant answers a key and which score as shadows."""
        return self.route_of(self.hash(key))

    def route_of(self, hashed: int) -> Route:
        """Return the same for a key's hash."""
        return self._routes[self._arms[(hashed & _LOW) % CELLS]][self._levels[(hashed >> _HALF) % CELLS]]


def entity_key(value: object) -> str | None:
    """Return the text an entity is hashed by; None (assign by prediction id) where there is no entity.

    Whole numbers are the same entity however they arrive: 7, 7.0 and a NumPy 7 are ``'7'``, as is the text.

    >>> [entity_key(value) for value in ("a", 7, 7.0, 2.5, None, float("nan"), "")]
    ['a', '7', '7', '2.5', None, None, None]
    """
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        if not math.isfinite(number):
            return None
        return str(int(number)) if number.is_integer() else repr(number)
    text = str(value)
    return None if text in ("", "NaT", "<NA>") else text


def _table(arms: Sequence[Ranges]) -> bytes:
    """Return for each cell the number of the arm that has it."""
    table = bytearray(CELLS)
    for number, ranges in enumerate(arms):
        for begin, end in ranges:
            table[begin:end] = bytes([number]) * (end - begin)
    return bytes(table)


def _shadow_levels(plan: TrafficPlan) -> tuple[bytes, list[tuple[Variant, ...]]]:
    """Return for each cell the number of its set of shadows, and the sets."""
    limits = sorted({0, *(one.cells for one in plan.shadows)})
    sets = [tuple(one for one in plan.shadows if one.cells > limit) for limit in limits]
    table = bytearray([len(limits) - 1]) * CELLS
    for number, (begin, end) in enumerate(pairwise(limits)):
        table[begin:end] = bytes([number]) * (end - begin)
    return bytes(table), sets
