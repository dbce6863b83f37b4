"""The gate: run every check on what was measured and decide whether a version may challenge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.contract.check import ContractResult
from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.metrics.base import Metric
from evergreen.tasks.core.registry import GATES
from evergreen.tasks.core.seeds import seed_for
from evergreen.tasks.core.training.baseline import all_baselines
from evergreen.tasks.core.training.features import ModelSpec
from evergreen.tasks.core.training.scoring import Scorer
from evergreen.tasks.core.validation.gate import CheckResult, Gate, GateContext
from evergreen.tasks.core.validation.smoke import SmokeReport
from evergreen.tasks.core.verdict import Outcome, Reason, State, Verdict

GateFunction = Callable[[GateContext], Any]
"""A gate of a team's own: a `Gate`, or a function that answers with a ``Verdict``."""


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """What the gate decided: the verdict over all checks, each check, and what it warns about."""

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
    context: GateContext, *, gates: Mapping[str, GateFunction], rng: np.random.Generator
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
    own = {name: GATES.read(name, thing) for name, thing in gates.items()}
    # operational gates last
    built_in = [one for one in GATES.built_in().values() if one.always]
    built_in.sort(key=lambda one: one.family == "operational")
    checks = run_gates([*built_in, *own.values()], replace(context, rng=rng))
    return conclude(checks, warnings=context.warnings)


def run_gates(gates: Sequence[Gate], context: GateContext) -> list[CheckResult]:
    """Run each gate in turn, except where something it needs is not there (`Gate.needs`)."""
    provided = {"answers"}
    if context.smoke is not None:
        provided.add("smoke")
    if context.problem in {"binary", "multiclass"}:
        provided.add("probabilities")
    results = []
    for one in gates:
        if provided.issuperset(one.needs):
            checks = one(context)
            results += checks
            if not all(check.verdict.passed for check in checks):
                provided -= set(one.gives)
    return results


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
        message = f"All {len(checks)} checks passed."
        met = Reason(code="gates_passed", message=message, observed=len(checks), limit=len(checks))
        verdict = Verdict(outcome=Outcome.PASS, reasons=(met,))
    return GateDecision(verdict=verdict, checks=tuple(checks), warnings=warned)


def _reasons(checks: Sequence[CheckResult], outcome: Outcome) -> tuple[Reason, ...]:
    return tuple(reason for one in checks if one.verdict.outcome is outcome for reason in one.verdict.reasons)


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
    spec = ModelSpec(model.schema, config, model.classes)
    rng = np.random.default_rng(seed_for(config.model, parts.holdout.fingerprint, "baseline"))
    return GateContext(
        config=config,
        schema=model.schema,
        version=version,
        holdout=parts.holdout,
        scored=model.score(parts.holdout, config=config),
        baselines=all_baselines(spec, training=parts.training, rows=parts.holdout, rng=rng),
        metrics=metrics,
        windows={name: getattr(parts, name).frame for name in ("training", "holdout", "evaluation")},
        contract=tuple(contract),
        smoke=smoke,
        warnings=parts.warnings,
    )


def judge_gates(context: GateContext, *, gates: Mapping[str, GateFunction]) -> GateDecision:
    """Run every gate, the team's own (by dotted path) too, and decide; the seed follows from the holdout's rows."""
    seed = seed_for(context.config.model, context.holdout.fingerprint, "validate")
    return validate_version(context, gates=gates, rng=np.random.default_rng(seed))
