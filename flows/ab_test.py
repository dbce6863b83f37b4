"""Look at the live test of a model, and end it when the evidence, the time or a guardrail says so."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.ab_test import (
    close_test,
    evaluate_test,
    finish_promotion,
    judge_test,
    open_test,
    promote_tested_version,
    report_test,
)
from evergreen.tasks.core.ab_testing.report import live_markdown
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.approval import approve_by_policy
from evergreen.tasks.runtime.parameters import DryRun, EndNow, ModelName
from evergreen.tasks.runtime.result import concluded


@flow(name="ab-test", flow_run_name="ab-test-{model}", persist_result=False)
@concluded("ab-test")
def ab_test(model: ModelName, end: EndNow = False, dry_run: DryRun = False) -> StageResult:
    """Judge champion and challenger on live traffic at any time: go on, promote the winner, keep, or abort."""
    setup = open_setup(model)
    state = open_test(setup, dry_run=dry_run)
    seen = evaluate_test(setup, state, dry_run=dry_run)
    judged = judge_test(setup, state, seen, end=end, dry_run=dry_run)
    report_test(setup, state, judged)
    if dry_run or judged.state is State.LIVE_TEST_RUNNING:
        return judged
    if judged.state is State.PROMOTED:
        judged = finish_promotion(setup, judged)
    elif judged.state is State.WON:
        answer = approve_by_policy(setup, judged, question=live_markdown(state.test, judged))
        if answer.code == "approved":
            judged = promote_tested_version(setup, state, judged, answer)
        else:
            judged = judged.ends(State.CHAMPION_KEPT, answer)
    if judged.state is not State.BLOCKED:
        close_test(setup, state, judged)
    return judged
