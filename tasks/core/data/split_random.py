"""Divide rows at random, for ever: a row's part is a pure function of its content and a seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import Span
from evergreen.tasks.core.data.rows import SplitPlan, hash_rows, unit_interval
from evergreen.tasks.core.errors import ConfigError, NotLearnable
from evergreen.tasks.core.verdict import Reason

_STRONG_DEPENDENCE = 0.5
"""Lag-1 rank correlation (agreement beyond chance) of targets from which neighbours give each other away."""
_FEWEST_PAIRS = 50


def plan_random(frame: pd.DataFrame, draft: SplitPlan, config: ModelConfig) -> SplitPlan:
    """Return the plan of a random split: shares, seed and the columns that identify a row.

    Rows of one group, else of one entity, go together; else a row is identified by all its columns but the target,
    the time of its label, its weight and its value, so that it keeps its place when the label comes later.
    A value that is computed anew with another last digit makes another row of it: name ``data.entity`` then.

    Raises
    ------
    ConfigError
        When ``split.holdout`` is a span: rows without order have shares only.
    """
    holdout = config.split.holdout
    if isinstance(holdout, Span):
        raise ConfigError(
            f"split.holdout '{holdout}' is a span, but rows are split at random. Write a share such as 0.15."
        )
    data = config.data
    whole = data.group or data.entity
    late = {data.target, data.label_time, data.weight, data.value_column}
    identity = (whole,) if whole else tuple(sorted(name for name in frame.columns if name not in late))
    share = config.split.evaluation_share
    return dataclasses.replace(draft, identity=identity, holdout_share=holdout, evaluation_share=share)


def place_randomly(frame: pd.DataFrame, plan: SplitPlan) -> np.ndarray:
    """Return each row's part: 0 training, 1 holdout, 2 evaluation; int64 of shape (n,).

    Raises
    ------
    NotLearnable
        ``identity_unknown``: a column that identifies rows is missing, so nothing can be proved about them.
    """
    missing = [name for name in plan.identity if name not in frame.columns]
    if missing:
        raise NotLearnable(
            "identity_unknown",
            f"Column '{missing[0]}' identified the rows of a random split and is missing now, so it cannot be proved "
            "which rows a version has not learned from. Restore the column or train a new version.",
            observed=missing[0],
        )
    place = unit_interval(hash_rows(frame[list(plan.identity)], seed=plan.seed))
    kept_for_holdout = plan.evaluation_share + plan.holdout_share * (1 - plan.evaluation_share)
    return np.select([place < plan.evaluation_share, place < kept_for_holdout], [2, 1], default=0)


def judge_forced_random(frame: pd.DataFrame, positions: np.ndarray, config: ModelConfig) -> Reason:
    """Warn about a random split of timed rows, or refuse it where neighbours' targets overlap.

    Refused when the configuration itself says that targets reach over time (``split.purge`` or
    ``data.label_delay`` above zero, or ``data.label_time``), or when neighbouring targets (of one entity, in clock
    order) agree beyond 0.5: a copy of nearly every held-out answer would then stand in training.

    Raises
    ------
    ConfigError
        Naming what overlaps.
    """
    said = _overlap_by_config(config)
    dependence = neighbour_dependence(frame, positions, target=config.data.target, entity=config.data.entity)
    if said or dependence > _STRONG_DEPENDENCE:
        why = said or (
            f"neighbouring values of '{config.data.target}' agree to {dependence:.2f} (limit {_STRONG_DEPENDENCE}), "
            "so held-out rows have near copies in training"
        )
        raise ConfigError(
            f"split.method 'random' is refused on timed data with overlapping targets: {why}. "
            "Write split.method: time."
        )
    return Reason(
        code="random_split_on_timed_data",
        message=f"split.method 'random' is forced on data with the clock '{config.data.time or 'row order'}': later "
        "rows are learned from when earlier ones are judged. Write split.method: time unless rows are independent.",
        observed=round(dependence, 4),
        limit=_STRONG_DEPENDENCE,
        n=len(frame),
    )


def neighbour_dependence(
    frame: pd.DataFrame, positions: np.ndarray, *, target: str, entity: str | None
) -> float:
    """Return how far neighbouring targets agree: 0 independent, 1 identical.

    Spearman's lag-1 correlation for numbers of more than two values, Cohen's kappa between neighbours otherwise;
    0 below 50 pairs or for a constant target.
    """
    known = frame[target].notna().to_numpy()
    values = frame.loc[known, target]
    owner = pd.factorize(frame.loc[known, entity])[0] if entity else np.zeros(len(values), dtype=np.int64)
    order = np.lexsort((positions[known], owner))
    same = owner[order][1:] == owner[order][:-1]
    numeric = pd.api.types.is_numeric_dtype(values.dtype) and values.nunique() > 2
    codes = values.rank().to_numpy() if numeric else pd.factorize(values)[0]
    before, after = codes[order][:-1][same], codes[order][1:][same]
    if len(before) < _FEWEST_PAIRS or np.ptp(before) == 0 or np.ptp(after) == 0:
        return 0.0
    return float(np.corrcoef(before, after)[0, 1]) if numeric else _kappa(before, after)


def _kappa(before: np.ndarray, after: np.ndarray) -> float:
    size = int(max(before.max(), after.max())) + 1
    first, second = np.bincount(before, minlength=size), np.bincount(after, minlength=size)
    chance = float((first * second).sum()) / len(before) ** 2
    return (float((before == after).mean()) - chance) / (1 - chance)


def _overlap_by_config(config: ModelConfig) -> str:
    if config.split.purge.amount > 0:
        return f"split.purge is {config.split.purge}"
    if config.data.label_delay.amount > 0:
        return f"data.label_delay is {config.data.label_delay}"
    return f"data.label_time is '{config.data.label_time}'" if config.data.label_time else ""
