"""A live test as the ledger keeps it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from tasks.core.ab.definition import Arm, Guardrail, LiveTest
from tasks.core.errors import InputError, unknown_name

_KNOWN = {one.name for one in fields(LiveTest)}
_NEEDED = {
    "name", "hypothesis", "metric", "mode", "control", "challengers", "min_improvement", "start", "longest"
}  # fmt: skip


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
        if name not in _KNOWN:
            raise unknown_name("key", str(name), _KNOWN, where="the live test")
    missing = sorted(_NEEDED - set(plain))
    if missing:
        raise InputError(f"The live test lacks {', '.join(missing)}. Name each of them.")
    given = dict(plain)
    given["control"] = _arm(given["control"])
    given["challengers"] = tuple(_arm(one) for one in _listed(given["challengers"], "challengers"))
    given["guardrails"] = tuple(_rail(one) for one in _listed(given.get("guardrails", ()), "guardrails"))
    given["clip"] = _clip(given.get("clip"))
    for name in ("min_improvement", "start", "longest", "alpha", "margin", "power", "grace"):
        if name in given:
            given[name] = _number(given[name], name)
    for name in ("baseline", "follow_up", "block"):
        if given.get(name) is not None:
            given[name] = _number(given[name], name)
    return LiveTest(**given)


def _arm(plain: Any) -> Arm:
    if not isinstance(plain, Mapping) or not {"name", "version"} <= set(plain) <= {
        "name",
        "version",
        "share",
    }:
        raise InputError(f"Arm {plain!r} cannot be read. Allowed: name, version and share.")
    version = plain["version"]
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
        raise InputError(f"Version {version!r} of arm '{plain['name']}' is not allowed. Allowed: 1, 2, 3, …")
    return Arm(name=str(plain["name"]), version=version, share=_number(plain.get("share", 1.0), "share"))


def _rail(plain: Any) -> Guardrail:
    if not isinstance(plain, Mapping) or not {"metric", "most_worse"} <= set(plain) <= {
        "metric",
        "most_worse",
        "clip",
    }:
        raise InputError(f"Guardrail {plain!r} cannot be read. Allowed: metric, most_worse and clip.")
    most = _number(plain["most_worse"], "most_worse")
    return Guardrail(metric=str(plain["metric"]), most_worse=most, clip=_clip(plain.get("clip")))


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
