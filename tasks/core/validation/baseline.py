"""The margin over the naive baseline, which a model must be shown to beat."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evergreen.tasks.core.arrays import Array
from evergreen.tasks.core.challenge.comparison import block_rows
from evergreen.tasks.core.challenge.difference import Difference, measure_difference
from evergreen.tasks.core.config.evaluation import ValidationConfig
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.training.baseline import no_skill_baseline
from evergreen.tasks.core.validation.gate import CheckResult, GateContext, check, gate, insufficient
from evergreen.tasks.core.verdict import Reason

LEVEL = 0.05
_NAMES = {
    "constant": "the naive baseline (majority, mean, or answers in random order)",
    "persistence": "the baseline 'same as last'",
}


def measure_margin(
    metric: Metric,
    *,
    baseline: Scored,
    scored: Scored,
    kind: str,
    blocks: Array | None,
    rng: np.random.Generator,
) -> Difference:
    """Measure how far a model stands above a baseline on the same rows, with a two-sided 95 % interval.

    Parameters
    ----------
    metric : Metric
        The deciding metric.
    baseline, scored : Scored
        Answers of both on the same n rows.
    kind : {'constant', 'persistence'}
        The baseline; a constant one is compared with guesses as well (``no_skill_baseline``).
    blocks : array, shape (n,), or None
        Block of each row; None declares rows independent.
    rng : numpy.random.Generator
        For guesses and resampling.

    Returns
    -------
    Difference
        The baseline stands as champion.
    """
    if kind == "constant":
        metric, baseline = no_skill_baseline(metric, baseline=baseline, answers=scored, rng=rng)
    return measure_difference(metric, baseline, scored, level=LEVEL, blocks=blocks, rng=rng)


def check_margin(
    difference: Difference, *, kind: str, margin: float, min_blocks: int, decides: bool = True
) -> CheckResult:
    """Pass when the whole 95 % interval of the difference lies above ``margin``.

    Parameters
    ----------
    difference : Difference
        From ``measure_margin``.
    kind : {'constant', 'persistence'}
        The baseline.
    margin : float
        Absolute for bounded metrics, else relative to the baseline.
    min_blocks : int
        Fewer blocks are INSUFFICIENT: their spread is not known well enough to decide anything.
    decides : bool
        False: falling short only warns (code ``below_persistence``).
    """
    name = f"baseline_{kind}"
    if hindrance := _hindrance(difference, kind=kind, margin=margin, min_blocks=min_blocks):
        return insufficient(name, hindrance) if decides else check(name, met=hindrance)
    low, high = difference.interval
    above, observed = low > margin, low if np.isfinite(low) else None
    code = "above_baseline" if above else "below_baseline" if kind == "constant" else f"below_{kind}"
    message = (
        f"With {difference.metric} {difference.challenger:.4g} the model "
        f"{'beats' if above else 'is not shown to beat'} {_NAMES[kind]} "
        f"({difference.champion:.4g}): difference {difference.difference:.4g}, 95 % interval "
        f"[{low:.4g}, {high:.4g}], must lie above {margin:g}."
    )
    reason = Reason(code=code, message=message, observed=observed, limit=margin, n=difference.n)
    measured = {f"baseline_{kind}": difference.champion, f"margin_{kind}": difference.difference}
    measured = {key: value for key, value in measured.items() if np.isfinite(value)}
    if above:
        return check(name, met=reason, measured=measured)
    failed, warnings = ([reason], []) if decides else ([], [reason])
    return check(name, failed=failed, warnings=warnings, measured=measured)


def _hindrance(difference: Difference, *, kind: str, margin: float, min_blocks: int) -> Reason | None:
    """Return why nothing can be decided, or None."""
    if not difference.defined:
        message = (
            f"{difference.metric} is undefined for {_NAMES[kind]} or on parts of the holdout (one class, "
            f"no group?); {difference.n} rows cannot decide. Add rows, or choose another evaluation.metric."
        )
        return Reason(code="margin_undefined", message=message, n=difference.n)
    blocks, needed = difference.blocks, difference.needed_blocks_for_test or min_blocks
    unclear = difference.needed_blocks_for_test is not None and difference.interval[0] <= margin
    if blocks is not None and (blocks < min_blocks or unclear):
        message = (
            f"The holdout has {blocks} independent blocks, {needed} would decide; "
            "lengthen split.holdout, or set a shorter evaluation.block if its rows depend on each other less."
        )
        return Reason(code="too_few_blocks", message=message, observed=blocks, limit=needed, n=difference.n)
    return None


@gate("baseline", section="validation", needs=("answers",), always=True)
def baseline_gate(context: GateContext, limits: ValidationConfig) -> Iterator[CheckResult]:
    """Require a margin over each naive baseline that decides; losing to the others warns."""
    assert context.rng is not None
    try:
        blocks = block_rows(context.holdout, schema=context.schema, config=context.config)
    except NotLearnable as error:
        yield insufficient("baseline_constant", Reason.from_error(error))
        return
    for kind, baseline in context.baselines.items():
        if kind == "persistence" and limits.baseline == "constant":
            continue
        given = {"baseline": baseline, "scored": context.scored}
        difference = measure_margin(context.metric, **given, kind=kind, blocks=blocks, rng=context.rng)
        yield check_margin(
            difference,
            kind=kind,
            margin=limits.baseline_margin,
            min_blocks=context.config.evaluation.min_blocks,
            decides=kind == "constant" or limits.baseline == "persistence",
        )
