"""Replay policies of retraining over a model's own history, before one of them is switched on."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks import replay as stages
from evergreen.tasks.core.replay.setup import parse_policies
from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime import parameters as typed
from evergreen.tasks.runtime.result import concluded


@flow(name="replay", flow_run_name="replay-{model}", persist_result=False)
@concluded("replay")
def replay(
    model: typed.ModelName,
    policies: typed.Policies = "configured,never,every,periodic:30d,fixed_thresholds",
    since: typed.StartAt = None,
    until: typed.AsOf = None,
    full: typed.Full = False,
    search: typed.SearchMethod = None,
    trials: typed.TrialCount = 20,
) -> StageResult:
    """Run each policy over the labelled history with a simulated clock, by the functions that decide live."""
    setup = open_setup(model)
    specs = parse_policies(policies, setup.config)
    context = stages.prepare_replay(setup, since=since, until=until, full=full)
    result = stages.run_all(context, specs, full=full)
    if search is None:
        return stages.report_replay(context, result)
    searched = stages.search_policies(context, method=search, trials=trials, full=full)
    return stages.report_replay(context, result, searched)
