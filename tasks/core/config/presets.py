"""Ready sets of rules that a model's file may name (``retraining.preset``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "fixed_thresholds": {
        "drift": {
            "policy": "fixed_thresholds",
            "kinds": ["data", "outcome"],
            "ks_significance": 0.05,
            "outcome_threshold": 0.02,
        },
        "retraining": {
            "triggers": ["data", "outcome"],
            "drift_threshold": 0.0,
            "outcome_shift": 0.02,
            "cooldown": "1h",
            "back_off": 1.0,
            "hysteresis": 1.0,
        },
    }
}
"""Values by preset and section. ``fixed_thresholds``: any p < 0.05 or outcome shift above 2 % asks, hourly at most."""


def preset_values(name: object) -> dict[str, dict[str, Any]]:
    """Return what a preset says, section by section; nothing for a name that is none."""
    found = PRESETS.get(name, {}) if isinstance(name, str) else {}
    return {section: dict(values) for section, values in found.items()}
