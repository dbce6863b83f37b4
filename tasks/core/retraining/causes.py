"""What monitoring asks for: the open alarms of the newest windows, each with its size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from evergreen.tasks.core.alerts.alert import AlertLevel
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import parse_position
from evergreen.tasks.core.data.rows import Rows
from evergreen.tasks.core.data.split import draft_plan
from evergreen.tasks.core.data.timeline import make_timeline
from evergreen.tasks.core.drift.types import DriftKind, Level
from evergreen.tasks.core.retraining.types import Cause, Labels, RetrainPolicy

_LOSS = "@loss"


def drift_causes(
    entries: Iterable[Mapping[str, Any]], *, version: int | None, policy: RetrainPolicy, clock: str
) -> tuple[Cause, ...]:
    """Return the alarms that ask for a retraining.

    Parameters
    ----------
    entries : iterable of dict
        The newest window of each phase, as the ledger keeps it
        (`evergreen.tasks.core.monitoring.window_result.WindowResult.to_entry`, with
        its ``alert``).
    version : int | None
        The champion of now: alarms of the one before went with it.
    policy : RetrainPolicy
        Which kinds ask, and from what size on.
    clock : {'timestamp', 'seconds', 'rows'}
        What the alarms' moments are on.

    Returns
    -------
    tuple of Cause
        Alarms of a kind that is a trigger, at least as large as its limit. One whose size is not known asks.
    """
    found = [
        _cause(entry, alarm, policy, clock)
        for entry in of_version(entries, version)
        for alarm in (entry.get("alert") or {}).get("open", ())
        if alarm["kind"] in policy.triggers and alarm["level"] != AlertLevel.WARNING.value
    ]
    return tuple(cause for cause in found if cause.size is None or cause.size >= (cause.limit or 0.0))


def of_version(entries: Iterable[Mapping[str, Any]], version: int | None) -> list[Mapping[str, Any]]:
    """Return the entries that are about a version."""
    return [entry for entry in entries if entry["version"] == version]


def could_judge(entries: Iterable[Mapping[str, Any]], *, version: int | None) -> bool:
    """Return whether any kind of the champion's drift could be judged in the newest windows; without one: False."""
    return any(
        verdict["level"] != Level.INSUFFICIENT.value
        for entry in of_version(entries, version)
        for verdict in entry["kinds"].values()
    )


def _cause(entry: Mapping[str, Any], alarm: Mapping[str, Any], policy: RetrainPolicy, clock: str) -> Cause:
    kind, name = str(alarm["kind"]), str(alarm["name"])
    size = alarm_size(entry, kind=kind, name=name)
    limited = kind != DriftKind.CONCEPT.value or name == _LOSS
    return Cause(
        trigger=kind,
        name=name,
        said=f"{name} ({kind}): {alarm['said']}, since {alarm['since']}",
        size=size,
        limit=policy.limit(kind) if limited else None,
        since=alarm["since"],
        position=parse_position(alarm["since"], clock=clock),
    )


def alarm_size(entry: Mapping[str, Any], *, kind: str, name: str) -> float | None:
    """Return how large an alarm is in the newest window, in the unit of its limit.

    PSI of a feature or score; the largest shift of a share of the outcome; the relative rise of the loss; the relative
    loss of the metric; else the move in the signal's own unit. None where the window does not say.
    """
    if kind in (DriftKind.DATA.value, DriftKind.PREDICTION.value):
        psi = (entry.get("psi") or {}).get(name)
        return None if psi is None else float(psi)
    moved = [one for one in entry["kinds"].get(kind, {}).get("moved", ()) if one["column"] == name]
    if kind == DriftKind.PERFORMANCE.value:
        drop = (entry.get("performance") or {}).get("drop")
        return None if drop is None else float(drop)
    sizes = [abs(one["effect"]) for one in moved if one["effect"] is not None]
    if kind == DriftKind.CONCEPT.value and name == _LOSS:
        sizes = [_relative(one) for one in moved if one["signal"] == "level" and one["expected"]]
    return max(sizes, default=None)


def _relative(moved: Mapping[str, Any]) -> float:
    return float(moved["effect"] / abs(moved["expected"]))


# Which rows have a label that is known now.


def known_labels(rows: Rows, config: ModelConfig, *, until: float | None = None) -> Labels:
    """Return the places of rows whose label is known.

    Parameters
    ----------
    rows : Rows
        With the columns that a split is planned from (`evergreen.tasks.core.data.columns.clock_columns`).
    until : float, optional
        As of this position: no row at or after it, no label known after it.

    Returns
    -------
    Labels
        Positions on the clock; without a clock the labelled rows are counted from 0 on.
    """
    if rows.positions is None:
        count = int(rows.frame[config.data.target].notna().sum())
        return Labels(positions=np.arange(count, dtype=np.float64))
    line = make_timeline(rows.frame, rows.positions, draft_plan(config, until=until))
    return Labels(positions=np.sort(rows.positions[line.usable]))
