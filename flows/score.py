"""Score a batch: a table or files in, predictions of the champion (or another version) out, logged like live ones."""

from __future__ import annotations

from prefect import flow

from evergreen.tasks.core.verdict import StageResult
from evergreen.tasks.io.setup import open_setup
from evergreen.tasks.runtime import parameters as typed
from evergreen.tasks.runtime.result import concluded
from evergreen.tasks.scoring import plan_batch, report_batch, score_batch


@flow(name="predict-batch", flow_run_name="predict-batch-{model}", persist_result=False)
@concluded("score", label="predict-batch")
def predict_batch(
    model: typed.ModelName,
    to: typed.BatchTarget,
    source: typed.BatchSource = None,
    table: typed.SourceTable = None,
    query: typed.SourceQuery = None,
    to_table: typed.TargetTable = None,
    mode: typed.BatchMode = "append",
    keep: typed.AddedColumns = None,
    version: typed.VersionOrAlias = None,
    log: typed.LogPredictions = True,
    at: typed.WhereNoClock = None,
    since: typed.SliceStart = None,
    until: typed.SliceEnd = None,
    rows: typed.PartRows = 50_000,
) -> StageResult:
    """Score in parts; a killed run's finished parts are reused, and the target gets all at once or nothing."""
    setup = open_setup(model)
    batch = plan_batch(
        setup,
        to=to,
        source=source,
        table=table,
        query=query,
        to_table=to_table,
        mode=mode,
        keep=keep or (),
        version=version,
        log=log,
        at=at,
        since=since,
        until=until,
        rows=rows,
    )
    return report_batch(setup, batch, score_batch(setup, batch))


score = predict_batch
"""The name under which deployments of version 0.1 find the flow."""
