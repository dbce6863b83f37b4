"""Measure how much better one model is than another on the same rows, with an interval that can be believed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import norm, t

from tasks.core.dependence import join_neighbours, measure_dependence
from tasks.core.errors import ConfigError, NotLearnable
from tasks.core.metrics_base import Metric
from tasks.core.paired_parts import PairedParts, paired_parts
from tasks.core.scored import FloatArray, IntArray, Scored, align_classes
from tasks.core.stats.intervals import paired_proportions_interval
from tasks.core.stats.paired import delong, mcnemar
from tasks.core.stats.resampling import (
    bootstrap_draws,
    bootstrap_p_value,
    bootstrap_sums,
    cell_sums,
    effective_df,
    percentile_interval,
)

_RANDOM_GROUPS = 100  # leave-one-out groups for metrics that are no function of sums


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Challenger minus champion, signed so that positive means the challenger is better.

    Attributes
    ----------
    metric, test : str
        Names of the metric and of the procedure.
    difference : float
        In the metric's unit, or relative to the champion for losses, errors and amounts.
    interval : (float, float)
        Two-sided, equal-tailed, at confidence 1 - ``level``.
    level : float
        Alpha spent on this look.
    p_value : float
        Two-sided, of no difference.
    standard_error : float
        Of ``difference``; all numbers are ``nan`` where the metric is undefined.
    df : float
        Degrees of freedom with which the standard error is known.
    n : int
        Rows, or groups of a ranking.
    blocks : int or None
        Blocks the test stands on (after joining neighbours); None for independent rows.
    needed_blocks_for_test : int or None
        Set when neighbouring blocks depend on each other too strongly for so few.
    correlation : float
        Significant correlation of neighbouring blocks, else 0.
    champion, challenger : float
        The metric of each.
    """

    metric: str
    test: str
    difference: float
    interval: tuple[float, float]
    level: float
    p_value: float
    standard_error: float
    df: float
    n: int
    champion: float
    challenger: float
    blocks: int | None = None
    needed_blocks_for_test: int | None = None
    correlation: float = 0.0

    @property
    def defined(self) -> bool:
        """True when every number that decides is finite."""
        return all(map(math.isfinite, (self.difference, *self.interval, self.standard_error)))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; numbers that are not finite become null."""
        plain = {name: _json(getattr(self, name)) for name in self.__dataclass_fields__}
        return {**plain, "interval": [_json(bound) for bound in self.interval]}


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
        Two-sided alpha of this look.
    blocks : array of int, shape (n,), or None
        Block of each row, numbered in time order (`make_blocks`); None declares rows independent.
    rng : numpy.random.Generator
        Only used without blocks.
    draws : int, optional
        Resamples of a bootstrap; by default as many as the level needs.

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
        return _blocked(pair, np.asarray(blocks, dtype=np.int64), level=level)
    return _independent(pair, level=level, rng=rng, draws=draws or bootstrap_draws(level))


def _refuse_unequal_rows(champion: Scored, challenger: Scored) -> None:
    """Fail closed on other rows and on answers that are NaN or infinite."""
    if len(champion) != len(challenger) or not np.array_equal(champion.y, challenger.y):
        raise NotLearnable(
            "different_rows",
            f"Champion ({len(champion)} rows) and challenger ({len(challenger)} rows) were not scored on the "
            "same rows. Score both on one frame.",
            n=min(len(champion), len(challenger)),
        )
    for name, scored in (("champion", champion), ("challenger", challenger)):
        for column, count in scored.missing().items():
            raise NotLearnable(
                "not_finite",
                f"'{column}' of the {name} is NaN or infinite on {count} of {len(scored)} rows. "
                "Allowed: finite numbers only. Mend the model or the data.",
                observed=count,
                limit=0,
                n=len(scored),
            )


def _blocked(pair: PairedParts, blocks: IntArray, *, level: float) -> Difference:
    """Jackknife over blocks, t with g - 1 degrees of freedom."""
    pseudo = pair.pseudo_values(blocks)
    if len(pseudo) < 2 or not np.isfinite(pseudo).all():
        return _answer(pair, "blocked_t", level=level, blocks=len(pseudo))
    dependence = measure_dependence(pseudo)
    joined = join_neighbours(pseudo, dependence.join)
    g = len(joined)
    error = float(np.sqrt(np.var(joined, ddof=1) / g * dependence.inflation))
    half = float(t.isf(level / 2, g - 1)) * error
    too_dependent = dependence.correlation > 0 and not dependence.sufficient
    return _answer(
        pair,
        "blocked_t",
        level=level,
        interval=(pair.difference - half, pair.difference + half),
        p_value=_two_sided(pair.difference, error, df=g - 1),
        standard_error=error,
        df=float(g - 1),
        blocks=g,
        needed_blocks_for_test=dependence.needed_blocks if too_dependent else None,
        correlation=dependence.correlation,
    )


def _independent(pair: PairedParts, *, level: float, rng: np.random.Generator, draws: int) -> Difference:
    """Choose the test for independent rows."""
    if not math.isfinite(pair.difference):
        return _answer(pair, "undefined", level=level)
    if pair.discordant is not None:
        return _by_mcnemar(pair, *pair.discordant, level=level)
    if pair.is_auc:
        return _by_delong(pair, level=level)
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
        "mcnemar_exact" if worse + better < 25 else "mcnemar",
        level=level,
        interval=paired_proportions_interval(worse, better, n, level=level),
        p_value=test.p_value,
        standard_error=math.sqrt(max(spread, 0.0)) / n,
        df=float(min(max(2 * (worse + better), 1), n)),
    )


def _by_delong(pair: PairedParts, *, level: float) -> Difference:
    """Compare two areas under the ROC curve."""
    test = delong(pair.champion.truth, pair.champion.positive_score, pair.challenger.positive_score)
    half = float(norm.isf(level / 2)) * test.standard_error
    influence = pair.influence
    return _answer(
        pair,
        "delong",
        level=level,
        interval=(max(test.difference - half, -1.0), min(test.difference + half, 1.0)),
        p_value=test.p_value,
        standard_error=test.standard_error,
        df=float("nan") if influence is None else effective_df(influence),
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


def _two_sided(difference: float, error: float, *, df: int) -> float:
    """Return the two-sided p-value of a t statistic; 1 for no difference and no spread."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * t.sf(abs(difference) / error, df))


def _json(value: Any) -> Any:
    """Return None for a number that is not finite."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
