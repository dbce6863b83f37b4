"""Let the challenger meet the champion, and promote it if it is superior."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.challenge import (
    arrange_comparison,
    find_contestants,
    judge_comparison,
    load_evaluation_rows,
    prepare_refit,
    promote_winner,
    report_challenge,
)
from evergreen.tasks.core.challenge.report import challenge_markdown
from evergreen.tasks.core.verdict import StageResult, State
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime.approval import approve_by_policy
from evergreen.tasks.runtime.parameters import AsOf, DryRun, ModelName
from evergreen.tasks.runtime.result import concluded


@flow(name="challenge", flow_run_name="challenge-{model}", persist_result=False)
@concluded("challenge")
def challenge(model: ModelName, until: AsOf = None, dry_run: DryRun = False) -> StageResult:
    """Compare champion and challenger on rows neither learned from; promote the challenger if it is superior."""
    setup = open_setup(model)
    opponents = find_contestants(setup)
    parts = load_evaluation_rows(setup, opponents, until=until)
    match = arrange_comparison(setup, opponents, parts)
    judged = judge_comparison(setup, opponents, match, dry_run=dry_run)
    report_challenge(setup, judged)
    if dry_run or judged.state is not State.WON:
        return judged
    answer = approve_by_policy(setup, judged, question=challenge_markdown(judged))
    if answer.code != "approved":
        return judged.ends(State.CHAMPION_KEPT, answer)
    heir = prepare_refit(setup, parts, opponents.challenger, until=until)
    return promote_winner(setup, judged, opponents, heir, answer)
