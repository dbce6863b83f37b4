"""Show what a model is watched by: the limits, the past they come from, and the false alarms to expect."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.drift.signals import SignalKey
from tasks.core.drift.words import DriftKind
from tasks.core.errors import NotLearnable
from tasks.core.judging.calibration_table import calibration_table, expected_false_alarms
from tasks.core.reign.plan import CHAMPION
from tasks.core.watching.past import Past
from tasks.core.watching.watch import Watch
from tasks.guard import guard_version
from tasks.io.models import load_model
from tasks.io.setup import Setup

_SHARES = (0.05, 0.5, 0.95)


def show_calibration(setup: Setup) -> dict[str, Any]:
    """Return the calibration of the champion's watch.

    Returns
    -------
    dict
        ``state``, ``model``, ``version``, ``policy``, ``false_alarms`` (the budget, also per 90 days), ``limits``
        (one row a column and kind, see `tasks.core.judging.calibration_table`, with ``past``: the quantiles of its
        signal in the reference's own windows), ``sentences`` for people, ``reasons``.

    Raises
    ------
    NotLearnable
        ``no_champion``.
    """
    version = setup.stores.registry.aliases(setup.model).get(CHAMPION)
    if version is None:
        raise NotLearnable(
            "no_champion",
            f"Model '{setup.model}' has no @champion, so nothing is calibrated. Train one first.",
        )
    guard = guard_version(setup, load_model(setup, version))
    watch, expected = guard.watch, expected_false_alarms(policy=guard.watch.policy)
    rows = [row for null in watch.nulls.values() for row in calibration_table(null, policy=watch.policy)]
    limits = [{**row, "past": past_quantiles(guard.past, row)} for row in rows]
    return {
        "state": "Calibrated",
        "model": setup.model,
        "version": version,
        "policy": watch.policy.name,
        "window": str(watch.policy.window),
        "expected": expected,
        "limits": limits,
        "sentences": sentences(watch, expected, limits),
        "reasons": [reason.to_dict() for reason in watch.notes],
    }


def past_quantiles(past: Past, row: dict[str, Any]) -> dict[str, float] | None:
    """Return the quantiles of a row's signal in the reference's own windows; None without any."""
    kind = DriftKind(row["kind"])
    series = past.series.get(kind)
    key = SignalKey(kind, row["column"], row["signal"])
    if series is None or key not in series.keys:
        return None
    values = series.values[:, series.keys.index(key)]
    known = values[np.isfinite(values)]
    if not len(known):
        return None
    return {f"{share:.0%}": float(np.quantile(known, share)) for share in _SHARES}


def sentences(watch: Watch, expected: dict[str, Any], limits: list[dict[str, Any]]) -> list[str]:
    """Say for people what the table means."""
    policy = watch.policy
    if policy.name == "literal":
        return [
            "Policy literal: fixed levels (drift.psi_critical, drift.ks_significance, …); no budget holds."
        ]
    quarter = f" ({expected['per_90_days']:.3g} per 90 days)" if expected["per_90_days"] else ""
    theory = sum(row["calibration"] == "theory" for row in limits)
    unknown = sum(row["calibration"] == "unknown" for row in limits)
    said = [
        f"Expected of a stationary stream: at most {policy.budget}{quarter}, over all columns and kinds of drift.",
        f"An alarm needs {policy.violated} of the last {policy.evaluated} windows of a column, or their mean; "
        "a move below the effect floor never alarms.",
    ]
    if theory:
        said.append(f"{theory} of {len(limits)} rows rest on sampling theory: the past has too few windows.")
    if unknown:
        said.append(
            f"{unknown} rows may have a season that the past is too short to know: INSUFFICIENT until then."
        )
    return said
