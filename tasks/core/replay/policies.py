"""The policies a replay compares, by name: as configured, never, every window, by the calendar, by a preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from tasks.core.config import ModelConfig
from tasks.core.config.model import overlay_model
from tasks.core.errors import InputError, unknown_name
from tasks.core.retraining.presets import PRESETS, preset_values

Mode = Literal["governed", "never", "every"]
WHERE = "--policies"
ENABLED = {"retraining": {"run_mode": "enabled"}, "promotion": {"path": "offline", "approval": "auto"}}
"""A replay shows what a policy would do once it is switched on; no person and no live traffic answers in it."""


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """One policy.

    Attributes
    ----------
    name : str
        As it is shown.
    config : ModelConfig
        The model under this policy.
    mode : {'governed', 'never', 'every'}
        ``governed``: monitoring, decisions, gates and challenges as they run live. ``never`` keeps the first model.
        ``every`` refits the first model's recipe at every window and deploys it ungated.
    """

    name: str
    config: ModelConfig
    mode: Mode = "governed"


def parse_policies(text: str, config: ModelConfig) -> tuple[PolicySpec, ...]:
    """Read a list of policies such as ``configured,never,every,periodic:30d,literal``.

    Raises
    ------
    InputError
        Naming the policy that is unknown, named twice or lacks its span, and what is allowed.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError(f"{WHERE} names no policy. Allowed: {', '.join(_SHOWN)}, separated by commas.")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{WHERE} names '{twice}' twice. Name each policy once.")
    return tuple(parse_policy(name, config) for name in names)


def parse_policy(name: str, config: ModelConfig) -> PolicySpec:
    """Read one policy; see ``parse_policies``."""
    config = overlay_model(config, ENABLED, origin=WHERE)
    kind, _, span = name.partition(":")
    known = {*_FIXED, "periodic", *PRESETS}
    if kind not in known:
        raise unknown_name("policy", name, _SHOWN, where=WHERE)
    if (kind == "periodic") != bool(span):
        wanted = "periodic:30d or 'periodic:5000 rows'" if kind == "periodic" else f"'{kind}' alone"
        raise InputError(f"Wrong policy '{name}' in {WHERE}. Write {wanted}.")
    if kind in _FIXED:
        return _FIXED[kind](config)
    overlay = preset_values(kind) if kind in PRESETS else periodic_overlay(span)
    return PolicySpec(name=name, config=overlay_model(config, overlay, origin=f"{WHERE} {name}"))


def periodic_overlay(span: str) -> dict[str, dict[str, Any]]:
    """Return what makes a policy go by the calendar alone."""
    rules = {"triggers": ["periodic"], "every": span, "cooldown": "0s", "back_off": 1.0}
    return {"retraining": rules}


_FIXED: dict[str, Callable[[ModelConfig], PolicySpec]] = {
    "configured": lambda config: PolicySpec(name="configured", config=config),
    "never": lambda config: PolicySpec(name="never", config=config, mode="never"),
    "every": lambda config: PolicySpec(name="every", config=config, mode="every"),
}
_SHOWN = (*_FIXED, "periodic:SPAN", *PRESETS)
