"""Replay policies of retraining over a model's own history, before one of them is switched on."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.replay import (
    prepare_replay,
    read_policies,
    read_search,
    report_replay,
    run_all,
    search_policies,
)
from evergreen.tasks.runtime.parameters import (
    AsOf,
    Full,
    ModelName,
    Policies,
    SearchMethod,
    StartAt,
    TrialCount,
)
from evergreen.tasks.runtime.result import concluded


@flow(name="replay", flow_run_name="replay-{model}", persist_result=False)
@concluded("replay")
def replay(
    model: ModelName,
    policies: Policies = "configured,never,every,periodic:30d,fixed_thresholds",
    since: StartAt = None,
    until: AsOf = None,
    full: Full = False,
    search: SearchMethod = None,
    trials: TrialCount = 20,
) -> StageResult:
    """Run each policy over the labelled history with a simulated clock, by the functions that decide live."""
    setup = open_setup(model)
    specs, wanted = read_policies(setup, policies), read_search(search, trials)
    scene = prepare_replay(setup, since=since, until=until, full=full)
    result = run_all(scene, specs, full=full)
    found = search_policies(scene, wanted, full=full) if wanted else None
    return report_replay(scene, result, found)
