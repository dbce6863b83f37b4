"""Variants: a version, or a weighted ensemble of versions, with its role and its share of the traffic."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tasks.core.errors import InputError, unknown_name

CELLS = 10_000
"""The traffic is cut into so many cells by the hash of the entity; a share is a whole number of them (0.01 %)."""
MOST_MEMBERS = 16
"""Most versions in one ensemble."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")


class Role(StrEnum):
    """What a variant is there for: the first two answer, a shadow scores and is logged, and never answers."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    SHADOW = "shadow"


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One arm of the traffic.

    Attributes
    ----------
    name : str
        What its predictions are logged under. The champion's name is ``champion``.
    role : Role
        champion, challenger or shadow.
    share : float
        Share of the entities it answers (a shadow: of those it scores as well), in whole 0.01 %.
    members : tuple of (version, weight)
        MLflow versions and their weights, which add up to 1; one member is that version itself. Empty for the
        champion: it is whatever ``@champion`` is.

    Raises
    ------
    InputError
        When anything of it is not allowed.

    >>> Variant(name="blend", role=Role.CHALLENGER, share=0.1, members=((7, 3), (8, 1))).members
    ((7, 0.75), (8, 0.25))
    """

    name: str
    role: Role
    share: float
    members: tuple[tuple[int, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", Role(self.role))
        _check_name(self.name, self.role)
        object.__setattr__(self, "share", _whole_share(self.share, self.name))
        object.__setattr__(self, "members", _normed(self.members, self.name, self.role))

    @property
    def cells(self) -> int:
        """How many cells its share is."""
        return round(self.share * CELLS)

    @property
    def versions(self) -> tuple[int, ...]:
        """Versions of its members; empty for the champion."""
        return tuple(version for version, _ in self.members)

    @property
    def version(self) -> int | None:
        """The one version it is; None for the champion and for ensembles."""
        return self.members[0][0] if len(self.members) == 1 else None

    @property
    def is_ensemble(self) -> bool:
        """True when several versions answer together."""
        return len(self.members) > 1

    @property
    def label(self) -> str:
        """What it is made of, for people: ``@champion``, ``version 8``, ``0.75 x 7 + 0.25 x 8``."""
        if not self.members:
            return "@champion"
        if self.version is not None:
            return f"version {self.version}"
        return " + ".join(f"{weight:g} x {version}" for version, weight in self.members)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        members = [{"version": version, "weight": weight} for version, weight in self.members]
        return {"name": self.name, "role": self.role.value, "share": self.share, "members": members}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Variant:
        """Return the variant written by ``to_dict``."""
        try:
            role, members = plain["role"], plain["members"]
            if role not in list(Role):
                raise unknown_name("role", str(role), list(Role), where=f"variant '{plain['name']}'")
            pairs = tuple((member["version"], member["weight"]) for member in members)
            return cls(name=plain["name"], role=Role(role), share=plain["share"], members=pairs)
        except (KeyError, TypeError) as error:
            raise InputError(
                f"Variant {plain!r} cannot be read ({error!r}). Allowed: name, role, share, and members, "
                "each with version and weight."
            ) from error


def _check_name(name: str, role: Role) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"Variant name {name!r} is not allowed. Allowed: 1 to 64 letters, digits, '_', '.', '-', "
            "beginning with a letter or digit."
        )
    if (name == Role.CHAMPION.value) != (role is Role.CHAMPION):
        raise InputError(
            f"Variant '{name}' has the role {role.value}. Only the champion is named 'champion', and it has no "
            "other name; choose another name for a challenger or shadow."
        )


def _whole_share(share: float, name: str) -> float:
    fits = isinstance(share, int | float) and not isinstance(share, bool) and math.isfinite(share)
    cells = share * CELLS if fits else -1.0
    if not fits or not 0.0 <= share <= 1.0 or abs(cells - round(cells)) > 1e-6:
        raise InputError(
            f"Share {share!r} of variant '{name}' is not allowed. Allowed: 0 to 1 in whole 0.0001 (0.01 %)."
        )
    return round(cells) / CELLS


def _normed(members: tuple[tuple[int, float], ...], name: str, role: Role) -> tuple[tuple[int, float], ...]:
    """Return members with weights that add up to 1."""
    if role is Role.CHAMPION:
        if members:
            raise InputError(
                f"The champion has members {members!r}. It is whatever @champion is: leave them out."
            )
        return ()
    if not 1 <= len(members) <= MOST_MEMBERS:
        raise InputError(
            f"Variant '{name}' has {len(members)} versions. Allowed: 1 to {MOST_MEMBERS}; name at least one."
        )
    for version, weight in members:
        _check_member(version, weight, name)
    versions = [version for version, _ in members]
    if len(set(versions)) < len(versions):
        raise InputError(f"Variant '{name}' names a version twice: {versions}. Give it one weight instead.")
    total = math.fsum(weight for _, weight in members)
    if abs(total - 1.0) <= 1e-12:  # so that a plan that is read again is equal to the one written
        return tuple((version, float(weight)) for version, weight in members)
    return tuple((version, weight / total) for version, weight in members)


def _check_member(version: object, weight: object, name: str) -> None:
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"Version {version!r} of variant '{name}' is not allowed. Allowed: 1, 2, 3, …")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0.0 < float(weight) < math.inf:  # type: ignore[arg-type]
        raise InputError(
            f"Weight {weight!r} of version {version} in variant '{name}' is not allowed. Allowed: above 0."
        )
