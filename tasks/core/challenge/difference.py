"""The answer of a comparison: how much better, within what interval, by which test, on what."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy

from evergreen.tasks.core.arrays import BoolArray, FloatArray, IntArray
from evergreen.tasks.core.errors import ConfigError, NotLearnable
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.classification import class_codes
from evergreen.tasks.core.metrics.scored import Scored, align_classes
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.stats.auc import influence_error
from evergreen.tasks.core.stats.dependence import (
    STRONG_CORRELATION,
    join_neighbours,
    measure_dependence,
    variance_inflation,
)
from evergreen.tasks.core.stats.paired import mcnemar
from evergreen.tasks.core.stats.resampling import (
    FEW_DISCORDANT,
    block_sums,
    bootstrap_draws,
    bootstrap_p_value,
    bootstrap_sums,
    cell_sums,
    effective_df,
    paired_proportions_interval,
    percentile_interval,
    pseudo_values,
)


@dataclass(frozen=True, kw_only=True)
class Difference(Struct):
    """Challenger minus champion, signed so that positive means the challenger is better."""

    metric: str
    test: str
    """Names of the metric and of the procedure."""
    difference: float
    """In the metric's unit, or relative to the champion for losses, errors and amounts."""
    interval: tuple[float, float] = (math.nan, math.nan)
    """Two-sided, equal-tailed, at confidence 1 - ``level``; where ``needed_blocks_for_test`` is set, as wide
    as a correlation of 0.95 between neighbours would make it."""
    level: float
    """Alpha spent on this comparison."""
    p_value: float = math.nan
    """Two-sided, of no difference."""
    standard_error: float = math.nan
    """Of ``difference``; all numbers are ``nan`` where the metric is undefined."""
    df: float = math.nan
    """Degrees of freedom with which the standard error is known."""
    n: int
    """Rows, or groups of a ranking."""
    champion: float
    challenger: float
    """The metric of each."""
    blocks: int | None = None
    """Blocks the test stands on (after joining neighbours); None for independent rows."""
    joined: int = 1
    """Neighbouring blocks that were joined into each of ``blocks``."""
    needed_blocks_for_test: int | None = None
    """Set when neighbouring blocks depend on each other too strongly for so few; ``standard_error`` then
    plans by the correlation that was found, ``interval`` and ``p_value`` by a stronger one."""
    correlation: float = 0.0
    """Significant correlation of neighbouring blocks, else 0."""

    @property
    def defined(self) -> bool:
        """True when every number that decides is finite."""
        return all(map(math.isfinite, (self.difference, *self.interval, self.standard_error)))


# Two models' metric on the same rows, cut into the parts that resampling needs.


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedParts:
    """A metric of two models and how it changes when rows go."""

    metric: Metric
    """What is compared."""
    champion: Scored
    challenger: Scored
    """The same rows."""
    before: float
    after: float
    difference: float
    """Metric of the champion, of the challenger, and the (signed, perhaps relative) improvement."""
    values: FloatArray | None = None
    """Shape (u, 2 c). Additive parts, the champion's columns first; None for a metric that is no function of
    sums."""
    rows: IntArray | None = None
    """Shape (u,). A row of each unit."""
    influence: FloatArray | None = None
    """Shape (n,). Influence of each row on the improvement, mean 0."""

    @property
    def n(self) -> int:
        """Number of units: rows, or groups of a ranking."""
        return len(self.champion) if self.values is None else len(self.values)

    @property
    def discordant(self) -> tuple[int, int] | None:
        """Rows that only the champion and only the challenger has right; None but for plain accuracy."""
        if self.metric.name not in _SHARE_OF_HITS or self.champion.weight is not None:
            return None
        outcome, before, _ = class_codes(self.champion)
        _, after, _ = class_codes(self.challenger)
        before, after = before == outcome, after == outcome
        return int((before & ~after).sum()), int((after & ~before).sum())

    @property
    def cells(self) -> tuple[IntArray, FloatArray] | None:
        """Counts and parts of the 8 cells (outcome, decision, decision); None but for binary decisions."""
        if self.values is None or self.metric.needs != "label" or not self.champion.is_binary:
            return None
        if self.champion.weight is not None:
            return None
        outcome, before, _ = class_codes(self.champion)
        code = 4 * outcome + 2 * before + self.challenger.says_positive
        _, first, counts = np.unique(code, return_index=True, return_counts=True)
        return counts.astype(np.int64), self.values[first]

    def improvement(self, sums: FloatArray) -> FloatArray:
        """Return the improvement for sums ``(…, 2 c)`` of the parts."""
        if self.metric.combine is None:
            raise TypeError(f"Metric '{self.metric.name}' is no function of sums.")
        c = sums.shape[-1] // 2
        return self.metric.improvement(self.metric.combine(sums[..., :c]), self.metric.combine(sums[..., c:]))

    def pseudo_values(self, codes: IntArray) -> FloatArray:
        """Return the jackknife pseudo-values of the improvement, one per block of ``codes``.

        ``codes`` number rows, shape (n,), or the units themselves, shape (u,).
        """
        if self.values is not None and self.rows is not None:
            of_unit = codes if len(codes) == len(self.rows) else codes[self.rows]
            sums = block_sums(self.values, _dense(of_unit))
            return pseudo_values(self.improvement, sums)
        if self.influence is not None:
            shares = np.bincount(_dense(codes), weights=self.influence)
            return self.difference + len(shares) * shares / len(self.influence)
        codes = _dense(codes)
        g = int(codes.max()) + 1
        without = np.array([self._without(codes != block) for block in range(g)])
        return g * self.difference - (g - 1) * without

    def _without(self, rows: BoolArray) -> float:
        """Return the improvement measured anew on the rows that are left."""
        before, after = (self.metric(side.take(rows)) for side in (self.champion, self.challenger))
        return float(self.metric.improvement(before, after))


_SHARE_OF_HITS = ("accuracy", "f1_micro", "precision_micro", "recall_micro")


def paired_parts(metric: Metric, champion: Scored, challenger: Scored) -> PairedParts:
    """Cut the metric of both models into parts; everything is ``nan`` on no rows."""
    before, after = metric(champion), metric(challenger)
    values: dict[str, Any] = {"before": before, "after": after}
    values["difference"] = float(metric.improvement(before, after))
    pair = PairedParts(metric=metric, champion=champion, challenger=challenger, **values)
    if metric.components is not None and len(champion):
        first, second = metric.components(champion), metric.components(challenger)
        return replace(pair, values=np.hstack([first.values, second.values]), rows=first.rows)
    if metric.influence is not None and metric.bounded and champion.weight is None:
        influence = metric.sign * (metric.influence(challenger) - metric.influence(champion))
        return replace(pair, influence=influence)
    return pair


def _dense(codes: IntArray) -> IntArray:
    """Renumber without gaps: a block may hold no unit at all."""
    used = np.bincount(codes) > 0
    return np.asarray(np.cumsum(used) - 1, dtype=np.int64)[codes]


# The tests behind a comparison on the same rows: one for blocks, and for independent rows one by metric.


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
    error = bound = _mean_error(joined, dependence.inflation)
    too_dependent = dependence.correlation > 0 and not dependence.sufficient
    if too_dependent:
        joined, strong = pseudo, max(dependence.correlation, STRONG_CORRELATION)
        bound = _mean_error(pseudo, variance_inflation(strong, 1))
    return _by_t(
        pair,
        "blocked_t",
        level=level,
        error=error,
        bound=bound,
        df=len(joined) - 1,
        blocks=len(joined),
        joined=1 if too_dependent else dependence.join,
        needed_blocks_for_test=dependence.needed_blocks if too_dependent else None,
        correlation=dependence.correlation,
    )


def _mean_error(values: FloatArray, inflation: float) -> float:
    return float(np.sqrt(np.var(values, ddof=1) / len(values) * inflation))


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
    half = float(scipy.stats.norm.isf(level / 2)) * error
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
    return _by_t(pair, "random_groups_t", level=level, error=error, bound=error, df=groups - 1)


def _by_t(
    pair: PairedParts, test: str, *, level: float, error: float, bound: float, df: int, **more: Any
) -> Difference:
    """Return a t test by the standard error ``bound``; ``error`` is what later comparisons are planned by."""
    half = float(scipy.stats.t.isf(level / 2, df)) * bound
    return _answer(
        pair,
        test,
        level=level,
        interval=(pair.difference - half, pair.difference + half),
        p_value=_two_sided(pair.difference, bound, df=df),
        standard_error=error,
        df=float(df),
        **more,
    )


def _answer(pair: PairedParts, test: str, *, level: float, **measured: Any) -> Difference:
    """Put the parts of an answer together; whatever is not given is undefined."""
    return Difference(
        metric=pair.metric.name,
        test=test,
        difference=pair.difference,
        level=level,
        n=pair.n,
        champion=pair.before,
        challenger=pair.after,
        **measured,
    )


def _two_sided(difference: float, error: float, *, df: float) -> float:
    """Return the two-sided p-value of a t statistic; 1 for no difference and no spread."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * scipy.stats.t.sf(abs(difference) / error, df))


# Measure how much better one model is than another on the same rows.


def measure_difference(
    metric: Metric,
    champion: Scored,
    challenger: Scored,
    *,
    level: float,
    blocks: Any | None,
    rng: np.random.Generator,
    draws: int | None = None,
) -> Difference:
    """Compare two models on the same rows, by the test that fits the metric and the dependence of rows.

    With blocks: the delete-one-block jackknife of the difference and t with g - 1 degrees of freedom,
    neighbouring blocks joined while they depend on each other (`measure_dependence`). For any metric.
    Without: McNemar for accuracy (exact below 25 discordant rows), DeLong for AUC, the exact multinomial
    over the cells of (outcome, decision, decision) for other metrics of binary decisions, a paired
    bootstrap for sums of rows or groups, a jackknife over random groups of rows for the rest.

    Parameters
    ----------
    metric : Metric
        What is compared.
    champion, challenger : Scored
        Answers on the same n rows in the same order; outcomes must be equal.
    level : float
        Two-sided alpha of this comparison.
    blocks : array of int, shape (n,), or None
        Block of each row, numbered in time order (`make_blocks`); None declares rows independent.
    rng : numpy.random.Generator
        Only used without blocks.
    draws : int, optional
        Fewest resamples of a bootstrap; small levels take more, so that about 20 lie in each tail.

    Returns
    -------
    Difference

    Raises
    ------
    NotLearnable
        ``different_rows`` or ``not_finite``: the models cannot be compared.
    ConfigError
        When ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError(f"The level of a comparison is {level}. Allowed: between 0 and 1, both excluded.")
    _refuse_unequal_rows(champion, challenger)
    champion, challenger = align_classes(champion, challenger)
    pair = paired_parts(metric, champion, challenger)
    if blocks is not None:
        return compare_blocks(pair, np.asarray(blocks, dtype=np.int64), level=level)
    return compare_independent(pair, level=level, rng=rng, draws=bootstrap_draws(level, least=draws or 4_000))


def _refuse_unequal_rows(champion: Scored, challenger: Scored) -> None:
    """Fail closed on other rows and on answers that are NaN or infinite."""
    if len(champion) != len(challenger) or not np.array_equal(champion.y, challenger.y):
        message = (
            f"Champion ({len(champion)} rows) and challenger ({len(challenger)} rows) were not scored on the "
            "same rows. Score both on one frame."
        )
        raise NotLearnable("different_rows", message, n=min(len(champion), len(challenger)))
    for name, scored in (("champion", champion), ("challenger", challenger)):
        for column, count in scored.missing().items():
            message = (
                f"'{column}' of the {name} is NaN or infinite on {count} of {len(scored)} rows. "
                "Allowed: finite numbers only. Fix the model or the data."
            )
            raise NotLearnable("not_finite", message, observed=count, limit=0, n=len(scored))
