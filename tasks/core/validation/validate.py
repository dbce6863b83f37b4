"""The gate: run every check on what was measured and decide whether a version may challenge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import IntArray
from evergreen.tasks.core.challenge.comparison import block_rows
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.contract.check import ContractResult
from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.errors import ConfigError, NotLearnable
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.metrics.registry import canonical_name, get_metric
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.baseline import all_baselines
from evergreen.tasks.core.training.scoring import Scorer
from evergreen.tasks.core.validation import leakage, operations, probabilities, quality, slices
from evergreen.tasks.core.validation.baseline import check_margin, measure_margin
from evergreen.tasks.core.validation.gate import CheckResult, GateContext, SmokeReport, check, insufficient
from evergreen.tasks.core.verdict import Outcome, Reason, State, Verdict

Gate = Callable[[GateContext], Verdict]


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """What the gate decided: the verdict over all checks, each check, and what is worth a look."""

    verdict: Verdict
    checks: tuple[CheckResult, ...]
    warnings: tuple[Reason, ...]

    @property
    def state(self) -> State:
        """Name of the run's final state."""
        states = {Outcome.PASS: State.APPROVED, Outcome.FAIL: State.REJECTED}
        return states.get(self.verdict.outcome, State.INSUFFICIENT_DATA)

    @property
    def measured(self) -> dict[str, float]:
        """All finite numbers of the checks, by a name MLflow accepts."""
        values = {name: value for one in self.checks for name, value in one.measured.items()}
        return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def validate_version(
    context: GateContext, *, gates: Mapping[str, Gate], rng: np.random.Generator
) -> GateDecision:
    """Judge a version.

    Parameters
    ----------
    context : GateContext
        Everything measured.
    gates : mapping of str to callable
        Gates of the team's own by dotted path.
    rng : numpy.random.Generator
        Seeded from model, window and purpose.

    Returns
    -------
    GateDecision
        FAIL when any check fails, with every reason; else INSUFFICIENT when any cannot be judged; else PASS.
    """
    checks = [
        *(_contract_check(result) for result in context.contract),
        *statistical_checks(context, rng=rng),
        *operational_checks(context),
        *(run_custom_gate(path, gate, context) for path, gate in gates.items()),
    ]
    return conclude(checks, warnings=context.warnings)


def conclude(checks: Sequence[CheckResult], *, warnings: Sequence[Reason] = ()) -> GateDecision:
    """Fold checks into one decision; every check counts, and none at all is INSUFFICIENT."""
    failed = _reasons(checks, Outcome.FAIL)
    unclear = _reasons(checks, Outcome.INSUFFICIENT)
    warned = (*warnings, *(reason for one in checks for reason in one.warnings))
    if failed:
        verdict = Verdict(outcome=Outcome.FAIL, reasons=(*failed, *unclear))
    elif unclear or not checks:
        nothing = Reason(code="nothing_checked", message="No check was run, so nothing is proven.")
        verdict = Verdict(outcome=Outcome.INSUFFICIENT, reasons=unclear or (nothing,))
    else:
        met = Reason(
            code="gates_passed",
            message=f"All {len(checks)} checks passed.",
            observed=len(checks),
            limit=len(checks),
        )
        verdict = Verdict(outcome=Outcome.PASS, reasons=(met,))
    return GateDecision(verdict=verdict, checks=tuple(checks), warnings=warned)


def _reasons(checks: Sequence[CheckResult], outcome: Outcome) -> tuple[Reason, ...]:
    return tuple(reason for one in checks if one.verdict.outcome is outcome for reason in one.verdict.reasons)


def _contract_check(result: ContractResult) -> CheckResult:
    return CheckResult(name=f"contract_{result.window}", verdict=result.verdict, warnings=result.warnings)


def statistical_checks(context: GateContext, *, rng: np.random.Generator) -> list[CheckResult]:
    """Run the checks a replay runs too. What later ones need is checked first: rows, shapes, finite answers."""
    limits = context.config.validation
    first = [
        quality.check_inputs(
            context.windows, context.schema.numeric, max_infinite=context.config.contract.max_infinite
        ),
        _check_rows(len(context.scored), limits.min_rows),
        quality.check_shapes(context.scored, problem=context.problem),
        quality.check_outputs(context.scored),
    ]
    if not all(one.verdict.passed for one in first[1:]):
        return first
    return [
        *first,
        _check_floors(context),
        *_check_margins(context, rng=rng),
        *_check_probabilities(context),
        _check_slices(context),
        _check_leakage(context),
    ]


def _check_rows(n: int, least: int) -> CheckResult:
    if n >= least:
        return check(
            "rows", met=Reason(code="rows_met", message=f"{n} holdout rows.", observed=n, limit=least, n=n)
        )
    message = f"The holdout has {n} labelled rows, {least} are needed to judge; enlarge split.holdout."
    return insufficient("rows", Reason(code="too_few_rows", message=message, observed=n, limit=least, n=n))


def _check_floors(context: GateContext) -> CheckResult:
    wanted = {canonical_name(name): floor for name, floor in context.config.validation.floors.items()}
    metrics = {
        name: context.metric_named(name) or get_metric(name, problem=context.problem) for name in wanted
    }
    values = {name: metric(context.scored) for name, metric in metrics.items()}
    return quality.check_floors(values, wanted, metrics=metrics, n=len(context.scored))


def _check_margins(context: GateContext, *, rng: np.random.Generator) -> Iterator[CheckResult]:
    limits = context.config.validation
    try:
        blocks = block_rows(context.holdout, schema=context.schema, config=context.config)
    except NotLearnable as error:
        yield insufficient("baseline_constant", Reason.from_error(error))
        return
    for kind, baseline in context.baselines.items():
        if kind == "persistence" and limits.baseline == "constant":
            continue
        difference = measure_margin(
            context.metric, baseline=baseline, scored=context.scored, kind=kind, blocks=blocks, rng=rng
        )
        yield check_margin(
            difference,
            kind=kind,
            margin=limits.baseline_margin,
            min_blocks=context.config.evaluation.min_blocks,
            decides=kind == "constant" or limits.baseline == "persistence",
        )


def _check_probabilities(context: GateContext) -> Iterator[CheckResult]:
    if context.problem not in {"binary", "multiclass"}:
        return
    yield probabilities.check_probabilities(context.scored)
    yield probabilities.check_calibration(
        probabilities.measure_calibration(context.scored),
        limit=context.config.validation.max_calibration_error,
        n=len(context.scored),
        weighted=context.config.training.class_weight is not None,
    )


def _check_slices(context: GateContext) -> CheckResult:
    wanted, frame = context.config.validation.slices, context.holdout.frame
    absent = [name for name in wanted.columns if name not in frame.columns]
    if absent:
        raise ConfigError(
            f"validation.slices.columns names '{absent[0]}', which the data do not have; columns: "
            f"{', '.join(map(str, frame.columns))}. Correct the name or remove it."
        )
    public = [name for name in context.schema.categorical if name not in context.config.data.private]
    columns = wanted.columns or slices.default_columns(frame, public)
    measures = slices.measure_slices(
        context.scored, slices.slice_labels(frame, columns), metric=context.metric, min_rows=wanted.min_rows
    )
    return slices.check_slices(measures, metric=context.metric, max_drop=wanted.max_drop)


def _check_leakage(context: GateContext) -> CheckResult:
    group: IntArray | None = context.scored.group
    measure = leakage.measure_leakage(
        context.holdout.frame,
        context.scored.y,
        features=context.schema.features,
        problem=context.problem,
        group=group,
        positions=context.holdout.positions,
    )
    return leakage.check_leakage(measure, limit=context.config.validation.leakage_score)


def operational_checks(context: GateContext) -> list[CheckResult]:
    """Run the checks of a live run: smoke test, latency, size. A replay has none."""
    if context.smoke is None:
        return []
    limits = context.config.validation
    return [
        operations.check_smoke(context.smoke),
        operations.check_latency(context.smoke, limits=limits.latency),
        operations.check_size(context.smoke, max_mb=limits.max_model_mb),
    ]


def run_custom_gate(path: str, gate: Gate, context: GateContext) -> CheckResult:
    """Ask a gate of the team's own; what it raises is not caught, so that a broken gate never approves.

    Raises
    ------
    ConfigError
        When it answers with anything but a ``Verdict``.
    """
    verdict: Any = gate(context)
    if not isinstance(verdict, Verdict):
        raise ConfigError(
            f"The gate '{path}' returned a {type(verdict).__name__}, allowed is a evergreen.tasks.core.verdict.Verdict "
            "(outcome and reasons). Correct the function, or remove it from validation.gates."
        )
    return CheckResult(name=path, verdict=verdict)


# Gather what the gates judge: the holdout scored by the version and by the naive baselines.


def gather_context(
    config: ModelConfig,
    model: Scorer,
    parts: Parts,
    *,
    version: int,
    metrics: tuple[Metric, ...],
    contract: Sequence[ContractResult] = (),
    smoke: SmokeReport | None = None,
) -> GateContext:
    """Score the holdout with the version and with the naive baselines, and gather what the gates judge.

    Parameters
    ----------
    model, version : Scorer, int
        Who is judged.
    parts : Parts
        Rows divided by the version's own plan.
    metrics : tuple of Metric
        All that is measured, the deciding one first.
    contract : sequence of ContractResult
        Of each window; empty where contracts are switched off.
    smoke : SmokeReport, optional
        What a fresh process found; without it (in a replay) the operational gates are not run.
    """
    return GateContext(
        config=config,
        schema=model.schema,
        version=version,
        holdout=parts.holdout,
        scored=model.score(parts.holdout, config=config),
        baselines=_baselines(config, model, parts),
        metrics=metrics,
        windows={name: getattr(parts, name).frame for name in ("training", "holdout", "evaluation")},
        contract=tuple(contract),
        smoke=smoke,
        warnings=parts.warnings,
    )


def judge_gates(context: GateContext, *, gates: Mapping[str, Gate]) -> GateDecision:
    """Run every gate, the team's own (by dotted path) too, and decide; the seed follows from the holdout's rows."""
    seed = seed_for(context.config.model, context.holdout.fingerprint, "validate")
    return validate_version(context, gates=gates, rng=np.random.default_rng(seed))


def _baselines(config: ModelConfig, model: Scorer, parts: Parts) -> dict[str, Scored]:
    """Score the holdout without a model, in each way that makes sense."""
    return all_baselines(
        training=parts.training,
        rows=parts.holdout,
        schema=model.schema,
        config=config,
        classes=model.classes,
        rng=np.random.default_rng(seed_for(config.model, parts.holdout.fingerprint, "baseline")),
    )
