"""Let the challenger meet the champion, and promote it if it is superior."""

from __future__ import annotations

from prefect import flow

from tasks.approval import approve_by_policy
from tasks.challenge import arrange_match, find_opponents, judge_match, load_ground, report_challenge
from tasks.core.challenge.report import challenge_markdown
from tasks.core.verdict import StageResult, State
from tasks.crown import crown_heir
from tasks.heir import prepare_heir
from tasks.io.setup import open_setup
from tasks.outcomes import concluded
from tasks.parameters import AsOf, DryRun, ModelName


@flow(name="challenge", flow_run_name="challenge-{model}", persist_result=False)
@concluded("challenge")
def challenge(model: ModelName, until: AsOf = None, dry_run: DryRun = False) -> StageResult:
    """Compare champion and challenger on rows neither learned from; promote the challenger if it is superior."""
    setup = open_setup(model)
    opponents = find_opponents(setup)
    parts = load_ground(setup, opponents, until=until)
    match = arrange_match(setup, opponents, parts)
    judged = judge_match(setup, opponents, match, dry_run=dry_run)
    report_challenge(setup, judged)
    if dry_run or judged.state is not State.WON:
        return judged
    answer = approve_by_policy(setup, judged, question=challenge_markdown(judged))
    if answer.code != "approved":
        return judged.ends(State.KEPT, answer)
    heir = prepare_heir(setup, parts, opponents.challenger, until=until)
    return crown_heir(setup, judged, opponents, heir, answer)
