"""The policy of drift, and how its budget of false alarms is shared out among checks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.explain import read_options
from evergreen.tasks.core.config.units import Positive, Rate, Section, Span
from evergreen.tasks.core.drift.measures import DriftMeasure
from evergreen.tasks.core.drift.types import DriftKind, SignalKey
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import deciding_metric
from evergreen.tasks.core.registry import DRIFT_MEASURES, plugged

MAIN_SIGNALS = ("location", "level")
"""Signals that half of their column's part goes to."""
_BUDGET = Rate(1.0, Span(7776000.0, "seconds", "90d"), "1 per 90d")
_WINDOW = Span(500.0, "rows", "500 rows")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What counts as drift: the keys of ``drift`` and ``monitoring`` that decide, in the model's own clock."""

    name: str = "calibrated"
    """``calibrated`` or ``fixed_thresholds``: which policy."""
    kinds: tuple[DriftKind, ...] = tuple(DriftKind)
    """Kinds that are checked; the budget is shared among them."""
    budget: Rate = _BUDGET
    """False alarms expected of a stationary stream."""
    window: Span = _WINDOW
    """What one check covers."""
    interval: float = 3600.0
    """Seconds between two runs of the monitor; a check on a clock of row numbers comes this often."""
    clock: str = "timestamp"
    """``timestamp``, ``seconds`` or ``rows``: the model's clock."""
    evaluated: int = 3
    violated: int = 2
    """``evaluated``, ``violated``: k (violated) of the n (evaluated) newest windows must have moved."""
    seasons: bool = True
    """Whether hours of the day and days of the week may have a reference each."""
    min_rows: int = 100
    """A window with fewer rows is INSUFFICIENT."""
    worse: int = -1
    """Direction in which the metric of performance is worse: -1 for scores, +1 for losses."""
    psi_warning: float = 0.10
    psi_critical: float = 0.25
    significance: float = 0.05
    outcome_threshold: float = 0.02
    """``psi_warning``, ``psi_critical``, ``significance``, ``outcome_threshold``: levels of
    ``fixed_thresholds``."""
    criticals: Mapping[str, float] = field(default_factory=dict)
    """Levels of registered drift measures that decide by it."""

    @property
    def window_length(self) -> float | None:
        """Seconds of a window where all are equally long in time, else None."""
        return self.window.amount if self.window.unit == "seconds" else None

    def side(self, key: SignalKey) -> int:
        """Return the side on which a move counts: +1 above, -1 below, 0 both.

        Only a greater loss and a worse metric are drift; everything else may move either way.
        """
        if key.name != "level":
            return 0
        return {DriftKind.PERFORMANCE: self.worse, DriftKind.CONCEPT: 1}.get(key.kind, 0)


def drift_policy(config: ModelConfig, *, metric: Metric | None = None) -> Policy:
    """Return the policy of a model.

    Parameters
    ----------
    config : ModelConfig
        Its configuration.
    metric : Metric, optional
        The metric performance is followed by; default: the deciding one (a team's own must be handed in).
    """
    drift, monitoring = config.drift, config.monitoring
    followed = metric or deciding_metric(config)
    return Policy(
        name=drift.policy,
        kinds=tuple(map(DriftKind, drift.kinds)),
        budget=drift.false_alarms,
        window=monitoring.window,
        interval=monitoring.interval.amount,
        clock=config.data.clock,
        evaluated=drift.num_evaluation_windows,
        violated=drift.num_violation_windows,
        seasons=drift.seasons == "auto",
        min_rows=monitoring.min_rows,
        worse=-followed.sign,
        psi_warning=drift.psi_warning,
        psi_critical=drift.psi_critical,
        significance=drift.ks_significance,
        outcome_threshold=drift.outcome_threshold,
        criticals=critical_levels(config),
    )


class MeasureOptions(Section):
    """What may stand beside a measure in ``drift.measures``."""

    critical: Positive | None = None
    """Level from which a column is drift (fixed thresholds); without one the measure is only shown."""


def shown_measures(config: ModelConfig) -> list[DriftMeasure]:
    """Return the measures of a model: built-in ones, those of packages, and what ``drift.measures`` names."""
    named = {name: DRIFT_MEASURES.get(name) for name in plugged(config.drift.measures)}
    return list({**DRIFT_MEASURES.standard(), **named}.values())


def critical_levels(config: ModelConfig) -> dict[str, float]:
    """Return the levels of the measures that decide under fixed thresholds, by the measure's name.

    Raises
    ------
    ConfigError
        When what stands beside a name in ``drift.measures`` is no level.
    """
    levels = {name: getattr(config.drift, f"{name}_critical") for name in DRIFT_MEASURES.built_in()}
    for name, options in plugged(config.drift.measures).items():
        levels[name] = read_options(MeasureOptions, options, where=f"drift.measures: {name}").critical
    return {name: float(level) for name, level in levels.items() if level is not None}


def windows_in_budget(policy: Policy, *, starts: FloatArray, rows: FloatArray) -> float:
    """Return how many windows the budget's span holds, at least 1.

    Parameters
    ----------
    policy : Policy
        Its budget and window.
    starts, rows : array, shape (w,)
        Starts and rows of the reference's windows: how long a window of rows lasts, how many rows one of time has.

    Notes
    -----
    On a clock of row numbers a budget per time counts one window a run of the monitor.
    """
    span, window = policy.budget.span, policy.window
    if span.unit == window.unit:
        length = window.amount
    elif span.unit == "rows":
        length = float(np.median(rows)) if len(rows) else float(policy.min_rows)
    elif policy.clock == "rows" or len(starts) < 2:
        length = policy.interval
    else:
        length = float(np.median(np.diff(starts)))
    return max(span.amount / max(length, 1e-9), 1.0)


def signal_levels(keys: Sequence[SignalKey], *, policy: Policy, windows: float) -> FloatArray:
    """Return the level of one check of each signal, shape (k,): its part of the budget.

    A column's check at one kind of drift gets budget / (windows x columns x kinds), valid under any dependence
    between columns (Bonferroni); of that ``location`` or ``level`` gets half and the column's other signals the
    rest in equal parts.

    Parameters
    ----------
    keys : sequence of SignalKey, length k
        All signals of the kinds they belong to.
    windows : float
        Windows in the budget's span.
    """
    columns = Counter(kind for kind, _ in {(key.kind, key.column) for key in keys})
    signals = Counter((key.kind, key.column) for key in keys)
    main = {(key.kind, key.column) for key in keys if key.name in MAIN_SIGNALS}

    def part(key: SignalKey) -> float:
        many, place = signals[key.kind, key.column], (key.kind, key.column)
        if place not in main or many == 1:
            return 1.0 / many
        return 0.5 if key.name in MAIN_SIGNALS else 0.5 / (many - 1)

    per_check = policy.budget.count / (windows * len(policy.kinds))
    return np.array([min(per_check / columns[key.kind], 0.2) * part(key) for key in keys])


def column_places(keys: Sequence[SignalKey]) -> tuple[tuple[tuple[DriftKind, str], ...], np.ndarray]:
    """Return the columns of the keys in order of appearance, and each key's place among them, shape (k,)."""
    places: dict[tuple[DriftKind, str], int] = {}
    codes = [places.setdefault((key.kind, key.column), len(places)) for key in keys]
    return tuple(places), np.array(codes, dtype=np.int64)
