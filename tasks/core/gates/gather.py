"""Gather what the gates judge: the holdout scored by the version and by the naive baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.contract.judge import ContractResult
from tasks.core.data.rows import Parts
from tasks.core.gates.context import GateContext
from tasks.core.gates.smoke import SmokeReport
from tasks.core.gates.validate import Gate, GateDecision, validate_version
from tasks.core.learning.baseline import all_baselines
from tasks.core.learning.scorer import Scorer
from tasks.core.metrics.base import Metric
from tasks.core.metrics.scored import Scored
from tasks.core.seeds import seed_for


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
