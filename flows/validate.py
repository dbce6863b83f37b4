"""The gate: what a candidate must prove before it may challenge the champion."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks import validation
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.data import load_parts_task
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.parameters import DryRun, ModelName, Version
from evergreen.tasks.runtime.result import concluded


@flow(name="validate", flow_run_name="validate-{model}", persist_result=False)
@concluded("validate")
def validate(model: ModelName, version: Version = None, dry_run: DryRun = False) -> StageResult:
    """Judge @candidate (or a version by number) on rows it was not trained on; approve or reject it."""
    setup = open_setup(model)
    candidate = validation.find_candidate(setup, version)
    parts = load_parts_task(setup, plan=candidate.plan, also=candidate.columns)
    smoke = validation.smoke_candidate.begin(setup, candidate, parts)  # a process of its own, meanwhile:
    checked = validation.check_windows(setup, candidate, parts)
    context = validation.measure_candidate(setup, candidate, parts, checked, smoke())
    decision = validation.judge_candidate(context)
    run = validation.report_validation(setup, context, decision, checked)
    return validation.apply_validation(setup, context, decision, run, dry_run=dry_run)
