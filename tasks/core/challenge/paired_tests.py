"""The tests behind a comparison on the same rows: one for blocks, and for independent rows one by metric."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import norm, t

from tasks.core.challenge.dependence import (
    STRONG_CORRELATION,
    join_neighbours,
    measure_dependence,
    variance_inflation,
)
from tasks.core.challenge.difference import Difference
from tasks.core.challenge.paired_parts import PairedParts
from tasks.core.metrics.scored import FloatArray, IntArray
from tasks.core.stats.auc import influence_error
from tasks.core.stats.intervals import FEW_DISCORDANT, paired_proportions_interval
from tasks.core.stats.paired import mcnemar
from tasks.core.stats.resampling import (
    bootstrap_p_value,
    bootstrap_sums,
    cell_sums,
    effective_df,
    percentile_interval,
)

_RANDOM_GROUPS = 100  # leave-one-out groups for metrics that are no function of sums


def compare_blocks(pair: PairedParts, blocks: IntArray, *, level: float) -> Difference:
    """Jackknife over blocks, t with g - 1 degrees of freedom.

    Where neighbours depend on each other and too few blocks are left to say how much, the interval is as wide as
    a correlation of 0.95 would make it: only what even that would not overturn can be decided.
    """
    pseudo = pair.pseudo_values(blocks)
    if len(pseudo) < 2 or not np.isfinite(pseudo).all():
        return _answer(pair, "blocked_t", level=level, blocks=len(pseudo))
    dependence = measure_dependence(pseudo)
    joined = join_neighbours(pseudo, dependence.join)
    g = len(joined)
    error = float(np.sqrt(np.var(joined, ddof=1) / g * dependence.inflation))
    too_dependent = dependence.correlation > 0 and not dependence.sufficient
    if too_dependent:
        joined, wide = pseudo, variance_inflation(max(dependence.correlation, STRONG_CORRELATION), 1)
        g = len(joined)
    bound = float(np.sqrt(np.var(joined, ddof=1) / g * wide)) if too_dependent else error
    half = float(t.isf(level / 2, g - 1)) * bound
    return _answer(
        pair,
        "blocked_t",
        level=level,
        interval=(pair.difference - half, pair.difference + half),
        p_value=_two_sided(pair.difference, bound, df=g - 1),
        standard_error=error,
        df=float(g - 1),
        blocks=g,
        joined=1 if too_dependent else dependence.join,
        needed_blocks_for_test=dependence.needed_blocks if too_dependent else None,
        correlation=dependence.correlation,
    )


def compare_independent(
    pair: PairedParts, *, level: float, rng: np.random.Generator, draws: int
) -> Difference:
    """Choose the test for independent rows."""
    if not math.isfinite(pair.difference):
        return _answer(pair, "undefined", level=level)
    if pair.discordant is not None:
        return _by_mcnemar(pair, *pair.discordant, level=level)
    if pair.influence is not None and pair.metric.name == "roc_auc":
        return _by_delong(pair, pair.influence, level=level)
    if pair.values is None:
        return _by_random_groups(pair, level=level, rng=rng)
    counts, cells = pair.cells or (None, None)
    if counts is not None and cells is not None:
        sums = cell_sums(counts, cells, draws=draws, rng=rng)
        return _by_bootstrap(pair, "exact_multinomial", sums, level=level)
    sums = bootstrap_sums(pair.values, draws=draws, rng=rng)
    return _by_bootstrap(pair, "paired_bootstrap", sums, level=level)


def _by_mcnemar(pair: PairedParts, worse: int, better: int, *, level: float) -> Difference:
    """Compare two accuracies by the rows on which exactly one model is right."""
    n = pair.n
    test = mcnemar(worse, better, correction=False)
    spread = (worse + better) - (better - worse) ** 2 / n
    return _answer(
        pair,
        "mcnemar_exact" if worse + better < FEW_DISCORDANT else "mcnemar",
        level=level,
        interval=paired_proportions_interval(worse, better, n, level=level),
        p_value=test.p_value,
        standard_error=math.sqrt(max(spread, 0.0)) / n,
        df=float(min(max(2 * (worse + better), 1), n)),
    )


def _by_delong(pair: PairedParts, influence: FloatArray, *, level: float) -> Difference:
    """Compare two areas under the ROC curve."""
    error = influence_error(pair.champion.truth, influence)
    half = float(norm.isf(level / 2)) * error
    return _answer(
        pair,
        "delong",
        level=level,
        interval=(max(pair.difference - half, -1.0), min(pair.difference + half, 1.0)),
        p_value=_two_sided(pair.difference, error, df=math.inf),
        standard_error=error,
        df=effective_df(influence),
    )


def _by_bootstrap(pair: PairedParts, test: str, sums: FloatArray, *, level: float) -> Difference:
    """Read interval and p-value off resampled differences."""
    resampled = pair.improvement(sums)
    return _answer(
        pair,
        test,
        level=level,
        interval=percentile_interval(resampled, level=level),
        p_value=bootstrap_p_value(resampled),
        standard_error=float(resampled.std(ddof=1)),
        df=effective_df(pair.pseudo_values(np.arange(pair.n))),
    )


def _by_random_groups(pair: PairedParts, *, level: float, rng: np.random.Generator) -> Difference:
    """Jackknife over random groups of rows, for metrics that are no function of sums."""
    groups = min(_RANDOM_GROUPS, len(pair.champion))
    codes = rng.permutation(len(pair.champion)) * groups // len(pair.champion)
    pseudo = pair.pseudo_values(codes)
    if groups < 2 or not np.isfinite(pseudo).all():
        return _answer(pair, "random_groups_t", level=level)
    error = float(pseudo.std(ddof=1) / np.sqrt(groups))
    half = float(t.isf(level / 2, groups - 1)) * error
    return _answer(
        pair,
        "random_groups_t",
        level=level,
        interval=(pair.difference - half, pair.difference + half),
        p_value=_two_sided(pair.difference, error, df=groups - 1),
        standard_error=error,
        df=float(groups - 1),
    )


def _answer(
    pair: PairedParts,
    test: str,
    *,
    level: float,
    interval: tuple[float, float] = (math.nan, math.nan),
    p_value: float = math.nan,
    standard_error: float = math.nan,
    df: float = math.nan,
    **more: Any,
) -> Difference:
    """Put the parts of an answer together; whatever is not given is undefined."""
    return Difference(
        metric=pair.metric.name,
        test=test,
        difference=pair.difference,
        interval=interval,
        level=level,
        p_value=p_value,
        standard_error=standard_error,
        df=df,
        n=pair.n,
        champion=pair.before,
        challenger=pair.after,
        **more,
    )


def _two_sided(difference: float, error: float, *, df: float) -> float:
    """Return the two-sided p-value of a t statistic; 1 for no difference and no spread."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * t.sf(abs(difference) / error, df))
