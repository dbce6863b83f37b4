"""Analyse the live test of a model, and end it when the evidence, the time or a guardrail says so."""

from __future__ import annotations

from datetime import timedelta

from prefect import flow

from evergreen.tasks import ab_test as stages
from evergreen.tasks.core.ab_testing.ledger import LIVE_PATHS
from evergreen.tasks.core.ab_testing.report import live_markdown
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.approval import approve_by_policy
from evergreen.tasks.runtime.parameters import DryRun, EndNow, ModelName
from evergreen.tasks.runtime.result import Schedule, concluded


@flow(name="ab-test", flow_run_name="ab-test-{model}", persist_result=False)
@concluded("ab-test")
def ab_test(model: ModelName, end: EndNow = False, dry_run: DryRun = False) -> StageResult:
    """Compare champion and challenger on live traffic at any time: go on, promote the winner, keep, or abort."""
    setup = open_setup(model)
    state = stages.open_test(setup, dry_run=dry_run)
    results = stages.evaluate_test(setup, state, dry_run=dry_run)
    result = stages.judge_test(setup, state, results, end=end, dry_run=dry_run)
    stages.report_test(setup, state, result)
    if dry_run or result.state is State.LIVE_TEST_RUNNING:
        return result
    if result.state is State.PROMOTED:
        result = stages.finish_promotion(setup, result)
    elif result.state is State.WON:
        approval = approve_by_policy(setup, result, question=live_markdown(state.test, result))
        if approval.code == "approved":
            result = stages.promote_tested_version(setup, state, result, approval)
        else:
            result = result.ends(State.CHAMPION_KEPT, approval)
    if result.state is not State.BLOCKED:
        stages.close_test(setup, state, result)
    return result


def schedule(config: ModelConfig) -> Schedule | None:
    """Analyse every hour where ``promotion.evidence`` asks for a live test."""
    return Schedule(every=timedelta(hours=1)) if config.promotion.evidence in LIVE_PATHS else None
