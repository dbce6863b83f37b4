"""How people write a variant: ``8@10%``, ``blend=7*0.3+8*0.7@5%``, ``challenger@1%``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tasks.core.errors import InputError, unknown_name
from tasks.core.traffic.variant import Role, Variant

SPELLING = "[NAME=]VERSION[*WEIGHT][+VERSION[*WEIGHT]…][@SHARE], e.g. 8@10% or blend=7*0.3+8*0.7@5%"
_ARM = re.compile(r"(?:(?P<name>[^=@+*]+)=)?(?P<members>[^=@]+)(?:@(?P<share>[^=@]+))?")


def read_variant(text: str, *, role: Role, aliases: Mapping[str, int], share: float | None = None) -> Variant:
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

    >>> read_variant("challenger@5%", role=Role.CHALLENGER, aliases={"challenger": 8})
    Variant(name='v8', role=<Role.CHALLENGER: 'challenger'>, share=0.05, members=((8, 1.0),))
    """
    found = _ARM.fullmatch(text.strip())
    if found is None:
        raise InputError(f"Variant '{text}' cannot be read. Allowed: {SPELLING}.")
    members = tuple(_read_member(part, aliases, text) for part in found["members"].split("+"))
    if found["share"] is not None:
        share = read_share(found["share"])
    elif share is None:
        raise InputError(f"Variant '{text}' has no share. Allowed: {SPELLING}.")
    name = found["name"] or "-".join(f"v{version}" for version, _ in members)
    return Variant(name=name.strip(), role=role, share=share, members=members)


def read_share(text: str) -> float:
    """Read a share: ``10%``, ``0.1`` or ``1``; ``InputError`` for anything else.

    >>> [read_share(text) for text in ("10%", "0.1", "100 %", "0.5%")]
    [0.1, 0.1, 1.0, 0.005]
    """
    plain = text.strip()
    number = plain.removesuffix("%").strip()
    try:
        value = float(number)
    except ValueError:
        raise InputError(f"Share '{text}' cannot be read. Allowed: 0% to 100%, or 0 to 1.") from None
    return round(value / 100.0, 12) if plain.endswith("%") else value


def read_steps(text: str) -> tuple[float, ...]:
    """Read the steps of a ramp: shares by comma.

    >>> read_steps("1%, 5%, 25%")
    (0.01, 0.05, 0.25)
    """
    return tuple(read_share(part) for part in text.split(","))


def _read_member(text: str, aliases: Mapping[str, int], whole: str) -> tuple[int, float]:
    name, star, weight = (part.strip() for part in text.partition("*"))
    try:
        heavy = float(weight) if star else 1.0
    except ValueError:
        raise InputError(f"Weight '{weight}' in '{whole}' is no number. Allowed: {SPELLING}.") from None
    plain = (
        name.removeprefix("@").removeprefix("v")
        if name.removeprefix("v").isdecimal()
        else name.removeprefix("@")
    )
    if plain.isdecimal():
        return int(plain), heavy
    if plain not in aliases:
        raise unknown_name("version or alias", name, aliases, where=f"'{whole}'")
    return aliases[plain], heavy
