"""Measure how much better one model is than another on the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.challenge.difference import Difference
from tasks.core.challenge.paired_parts import paired_parts
from tasks.core.challenge.paired_tests import compare_blocks, compare_independent
from tasks.core.errors import ConfigError, NotLearnable
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored, align_classes
from tasks.core.stats.resampling import bootstrap_draws


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
