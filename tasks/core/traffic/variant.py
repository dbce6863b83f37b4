"""Variants: a version, or a weighted ensemble of versions, with its role and its share of the traffic."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config.serving import CELLS
from evergreen.tasks.core.errors import InputError, unknown_name
from evergreen.tasks.core.serial import Struct

MOST_MEMBERS = 16
"""Most versions in one ensemble."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")


class Role(StrEnum):
    """What a variant is there for: the first two answer, a shadow scores and is logged, and never answers."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    SHADOW = "shadow"


@dataclass(frozen=True, kw_only=True)
class Variant(Struct):
    """One arm of the traffic.

    Raises
    ------
    InputError
        When anything of it is not allowed.

    >>> Variant(name="blend", role=Role.CHALLENGER, share=0.1, members=((7, 3), (8, 1))).members
    ((7, 0.75), (8, 0.25))
    """

    name: str
    """What its predictions are logged under. The champion's name is ``champion``."""
    role: Role
    """champion, challenger or shadow."""
    share: float
    """Share of the entities it answers (a shadow: of those it scores as well), in whole 0.01 %."""
    members: tuple[tuple[int, float], ...] = ()
    """(version, weight) each. MLflow versions and their weights, which add up to 1; one member is that
    version itself. Empty for the champion: it is whatever ``@champion`` is."""

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


def require_name(name: Any, what: str) -> None:
    """Check a name of a variant or live test; ``InputError`` for one that is not allowed, called ``what``."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} is not allowed. Allowed: 1 to 64 letters, digits, '_', '.', '-', "
            "beginning with a letter or digit."
        )


def require_version(version: Any, of: str) -> None:
    """Check the number of a version; ``InputError`` for one that is not allowed, naming what it is of."""
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InputError(f"Version {version!r} of {of} is not allowed. Allowed: 1, 2, 3, …")


def _check_name(name: str, role: Role) -> None:
    require_name(name, "Variant name")
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
    require_version(version, f"variant '{name}'")
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not number or not 0.0 < float(weight) < math.inf:  # type: ignore[arg-type]
        raise InputError(
            f"Weight {weight!r} of version {version} in variant '{name}' is not allowed. Allowed: above 0."
        )


# How people write a variant: ``8@10%``, ``blend=7*0.3+8*0.7@5%``, ``challenger@1%``.


VARIANT_SYNTAX = "[NAME=]VERSION[*WEIGHT][+VERSION[*WEIGHT]…][@SHARE], e.g. 8@10% or blend=7*0.3+8*0.7@5%"
_ARM = re.compile(r"(?:(?P<name>[^=@+*]+)=)?(?P<members>[^=@]+)(?:@(?P<share>[^=@]+))?")


def parse_variant(
    text: str, *, role: Role, aliases: Mapping[str, int], share: float | None = None
) -> Variant:
    """Read a variant as people write it.

    Parameters
    ----------
    text : str
        ``[NAME=]VERSION[*WEIGHT][+…][@SHARE]``; a version is a number or an alias; a share ``10%`` or ``0.1``. The
        name is ``v8`` or ``v7-v8`` by default.
    role : Role
        challenger or shadow.
    aliases : mapping of str to int
        The model's aliases.
    share : float | None
        Where none is written; None: it must be written.

    Raises
    ------
    InputError
        Naming the part that cannot be read.

    >>> parse_variant("challenger@5%", role=Role.CHALLENGER, aliases={"challenger": 8})
    Variant(name='v8', role=<Role.CHALLENGER: 'challenger'>, share=0.05, members=((8, 1.0),))
    """
    match = _ARM.fullmatch(text.strip())
    if match is None:
        raise InputError(f"Variant '{text}' cannot be read. Allowed: {VARIANT_SYNTAX}.")
    members = tuple(_parse_member(part, aliases, text) for part in match["members"].split("+"))
    if match["share"] is not None:
        share = parse_share(match["share"])
    elif share is None:
        raise InputError(f"Variant '{text}' has no share. Allowed: {VARIANT_SYNTAX}.")
    name = match["name"] or "-".join(f"v{version}" for version, _ in members)
    return Variant(name=name.strip(), role=role, share=share, members=members)


def parse_share(text: str) -> float:
    """Read a share: ``10%``, ``0.1`` or ``1``; ``InputError`` for anything else.

    >>> [parse_share(text) for text in ("10%", "0.1", "100 %", "0.5%")]
    [0.1, 0.1, 1.0, 0.005]
    """
    plain = text.strip()
    number = plain.removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"Share '{text}' cannot be read. Allowed: 0% to 100%, or 0 to 1.") from None
    return round(value / 100.0, 12) if plain.endswith("%") else value


def parse_steps(text: str) -> tuple[float, ...]:
    """Read the steps of a ramp: shares by comma.

    >>> parse_steps("1%, 5%, 25%")
    (0.01, 0.05, 0.25)
    """
    return tuple(parse_share(part) for part in text.split(","))


def _parse_member(text: str, aliases: Mapping[str, int], whole: str) -> tuple[int, float]:
    name, star, weight = (part.strip() for part in text.partition("*"))
    try:
        heavy = float(weight) if star else 1.0
    except ValueError:
        raise InputError(f"Weight '{weight}' in '{whole}' is no number. Allowed: {VARIANT_SYNTAX}.") from None
    number = name.removeprefix("v")
    plain = number if number.isdecimal() else name.removeprefix("@")
    if plain.isdecimal():
        return int(plain), heavy
    if plain not in aliases:
        raise unknown_name("version or alias", name, aliases, where=f"'{whole}'")
    return aliases[plain], heavy


# Ensembles: several versions answer together, by the weighted mean of their scores.


def agreed_classes(classes: Mapping[int, tuple[Any, ...]], *, name: str) -> tuple[Any, ...]:
    """Return the classes all members know, in one order.

    Parameters
    ----------
    classes : mapping of int to tuple
        Classes of each version; empty tuples where there are none (regression, ranking).
    name : str
        The variant, for messages.

    Raises
    ------
    InputError
        When two members differ in classes or their order: columns of probabilities could not be averaged.
    """
    distinct = set(classes.values())
    if len(distinct) != 1:
        named = "; ".join(f"version {version}: {list(labels)}" for version, labels in sorted(classes.items()))
        raise InputError(
            f"Members of '{name}' answer with different classes ({named}). Allowed: the same in the same order; "
            "leave the one that differs out."
        )
    return next(iter(distinct))


def blend_scores(scores: Sequence[FloatArray], weights: Sequence[float]) -> FloatArray:
    """Return the weighted mean of the members' scores.

    Parameters
    ----------
    scores : sequence of arrays, each (n,) or (n, k)
        What each member says of the same rows: P(positive), probabilities, or predictions.
    weights : sequence of float
        Add up to 1.

    Raises
    ------
    InputError
        When shapes or numbers of members differ.

    >>> blend_scores([np.array([0.2, 1.0]), np.array([0.6, 0.0])], [0.75, 0.25])
    array([0.3 , 0.75])
    """
    shapes = {score.shape for score in scores}
    if len(shapes) != 1 or len(scores) != len(weights):
        raise InputError(
            f"{len(scores)} members with {len(weights)} weights answer in the shapes {sorted(shapes)}. "
            "Allowed: one weight each, and one shape."
        )
    mean = np.zeros(scores[0].shape, dtype=np.float64)
    for score, weight in zip(scores, weights, strict=True):
        mean += weight * score
    return mean


def blend_decisions(scores: FloatArray, *, classes: tuple[Any, ...], threshold: float) -> list[Any]:
    """Decide an ensemble's rows: by the champion's threshold, the likeliest class, or the number itself.

    An ensemble was never given a threshold of its own: it decides by the champion's, so that arms differ in their
    scores alone.
    """
    # with pandas, which commands that read do without
    from evergreen.tasks.core.training.scoring import decide_labels

    labels = decide_labels(scores, classes=classes, threshold=threshold)
    return list((scores if labels is None else labels).tolist())
