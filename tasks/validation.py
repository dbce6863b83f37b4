"""The gate: measure a version, judge it in core, tag it, and admit it as challenger when it passed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from evergreen.tasks.core.contract.check import ContractResult
from evergreen.tasks.core.contract.contract import Contract, apply_limits
from evergreen.tasks.core.data.rows import Parts
from evergreen.tasks.core.errors import NotLearnable
from evergreen.tasks.core.metrics.registry import measure, metrics_of
from evergreen.tasks.core.promotion.plan import CANDIDATE, CHAMPION
from evergreen.tasks.core.training.features import feature_frame
from evergreen.tasks.core.validation import report as gate_report
from evergreen.tasks.core.validation.gate import GateContext, configured_gates
from evergreen.tasks.core.validation.smoke import SmokeReport
from evergreen.tasks.core.validation.validate import GateDecision, gather_context, judge_gates
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.config import custom_metrics
from evergreen.tasks.io.contracts import check_contract
from evergreen.tasks.io.mlflow_store.documents import read_documents
from evergreen.tasks.io.mlflow_store.models import LoadedModel, load_model
from evergreen.tasks.io.setup import Setup, record_decision
from evergreen.tasks.io.smoke import smoke_version
from evergreen.tasks.io.smoke_pool import SMOKE_POOL
from evergreen.tasks.promotion import Promoter
from evergreen.tasks.runtime.publish import Artifact, Report, publish
from evergreen.tasks.runtime.task import SIDE_EFFECT, TRANSIENT, stage_task


@dataclass(frozen=True, kw_only=True)
class ContractChecks:
    """The version's contract (None: switched off) and its result on each window."""

    contract: Contract | None
    results: tuple[ContractResult, ...] = ()


@stage_task(**TRANSIENT)
def find_candidate(setup: Setup, version: int | None = None) -> LoadedModel:
    """Load the version to judge: the one that was named, else @candidate."""
    chosen = version or setup.stores.registry.aliases(setup.model).get(CANDIDATE)
    if chosen is None:
        message = f"'{setup.model}' has no @candidate to validate. Run 'evergreen train {setup.model}' first."
        raise NotLearnable("no_candidate", message)
    SMOKE_POOL.warm()  # imports while the rows are read and measured
    return load_model(setup, chosen)


@stage_task(**TRANSIENT)
def check_windows(setup: Setup, candidate: LoadedModel, parts: Parts) -> ContractChecks:
    """Check the windows after training against the version's contract."""
    if not setup.config.contract.enabled:
        return ContractChecks(contract=None)
    stored = read_documents(setup, candidate.info, ("contract",))["contract"]
    contract = apply_limits(Contract.from_dict(stored), setup.config.contract)
    windows = {"holdout": parts.holdout.frame, "evaluation": parts.evaluation.frame}
    private = setup.config.data.private
    results = tuple(
        check_contract(contract, frame, window=name, private=private)
        for name, frame in windows.items()
        if len(frame)
    )
    return ContractChecks(contract=contract, results=results)


@stage_task(**TRANSIENT)
def smoke_candidate(setup: Setup, candidate: LoadedModel, parts: Parts) -> SmokeReport:
    """Load the version in a fresh process and let it answer as it would be asked when it serves."""
    rows = feature_frame(parts.holdout.frame.head(1000), candidate.schema)
    return smoke_version(
        model=setup.model,
        version=candidate.info.version,
        registry=setup.stores.registry,
        tracking_uri=setup.settings.tracking_uri,
        rows=rows.assign(**dict.fromkeys(set(setup.config.data.private) & set(rows.columns), np.nan)),
        batch_rows=setup.config.validation.latency.batch_rows,
    )


@stage_task(**TRANSIENT)
def measure_candidate(
    setup: Setup, candidate: LoadedModel, parts: Parts, checked: ContractChecks, smoke: SmokeReport
) -> GateContext:
    """Score the holdout with the version and with the naive baselines, and gather what the gates judge."""
    return gather_context(
        setup.config,
        candidate,
        parts,
        version=candidate.info.version,
        metrics=metrics_of(setup.config, custom=custom_metrics(setup.config)),
        contract=checked.results,
        smoke=smoke,
    )


@stage_task(**SIDE_EFFECT)
def judge_candidate(context: GateContext) -> GateDecision:
    """Run every gate, the team's own too, and decide."""
    return judge_gates(context, gates=configured_gates(context.config))


@stage_task(**TRANSIENT)
def report_validation(
    setup: Setup, context: GateContext, decision: GateDecision, checked: ContractChecks
) -> dict[str, Any]:
    """Write the report to MLflow and show it in the Prefect UI; return the run's id and address."""
    name = f"validate-v{context.version}-{decision.state.value.lower()}"
    report = Report(setup, "validate", name=name, facts={"context": context, "decision": decision})
    page = partial(gate_report.validation_markdown, context, decision)
    shown = [
        Artifact("validate-{model}", "The gate's report", page),
        Artifact("validate-{model}-run", "The full report", link="The validation's run in MLflow"),
    ]
    return publish(report, [*gate_report.describe_validation(context, decision, checked.contract), *shown])


@stage_task(**SIDE_EFFECT)
def apply_validation(
    setup: Setup, context: GateContext, decision: GateDecision, run: dict[str, Any], *, dry_run: bool = False
) -> StageResult:
    """Record the decision, tag the version, then move @challenger; a dry run only returns what was decided.

    The champion keeps its tags: it serves on older evidence.
    """
    values = measure(context.scored, context.metrics)
    naive = measure(context.baselines["constant"], context.metrics)
    result = gate_report.conclude_validation(context, decision, metrics=values, baseline=naive, run=run)
    if dry_run:
        return result
    result = record_decision(setup, "validate", result)
    registry, version, state = setup.stores.registry, context.version, decision.state
    if state is State.INSUFFICIENT_DATA or registry.aliases(setup.model).get(CHAMPION) == version:
        return result
    registry.set_tags(setup.model, version, gate_report.version_tags(result))
    promoter = Promoter.of(setup)
    move = promoter.admit_challenger if state is State.APPROVED else promoter.dismiss_challenger
    move(version)
    return result
