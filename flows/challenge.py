"""Compare the challenger with the champion, and promote it if it is superior."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks import challenge as stages
from evergreen.tasks.core.challenge.evidence import challenge_markdown
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.approval import approve_by_policy
from evergreen.tasks.runtime.parameters import AsOf, DryRun, ModelName
from evergreen.tasks.runtime.result import concluded


@flow(name="challenge", flow_run_name="challenge-{model}", persist_result=False)
@concluded("challenge")
def challenge(model: ModelName, until: AsOf = None, dry_run: DryRun = False) -> StageResult:
    """Compare champion and challenger on rows neither was trained on; promote the challenger if it is superior."""
    setup = open_setup(model)
    contestants = stages.find_contestants(setup)
    parts = stages.load_evaluation_rows(setup, contestants, until=until)
    comparison = stages.arrange_comparison(setup, contestants, parts)
    result = stages.judge_comparison(setup, contestants, comparison, dry_run=dry_run)
    stages.report_challenge(setup, result)
    if dry_run or result.state is not State.WON:
        return result
    approval = approve_by_policy(setup, result, question=challenge_markdown(result))
    if approval.code != "approved":
        return result.ends(State.CHAMPION_KEPT, approval)
    refit = stages.prepare_refit(setup, parts, contestants.challenger, until=until)
    return stages.promote_winner(setup, result, contestants, refit, approval)
