"""Score a batch: a table or files in, predictions of the champion (or another version) out, logged like live ones."""

from __future__ import annotations

from prefect import flow

from tasks.core.verdict import StageResult
from tasks.io.setup import open_setup
from tasks.outcomes import concluded
from tasks.parameters import (
    BatchMode,
    BatchSource,
    BatchTarget,
    KeptColumns,
    LogPredictions,
    ModelName,
    PartRows,
    SliceEnd,
    SliceStart,
    SourceQuery,
    SourceTable,
    TargetTable,
    VersionOrAlias,
    WhereNoClock,
)
from tasks.score import plan_batch, report_batch, score_batch


@flow(name="score", flow_run_name="score-{model}", persist_result=False)
@concluded("score")
def score(
    model: ModelName,
    to: BatchTarget,
    source: BatchSource = None,
    table: SourceTable = None,
    query: SourceQuery = None,
    to_table: TargetTable = None,
    mode: BatchMode = "append",
    keep: KeptColumns = None,
    version: VersionOrAlias = None,
    log: LogPredictions = True,
    at: WhereNoClock = None,
    since: SliceStart = None,
    until: SliceEnd = None,
    rows: PartRows = 50_000,
) -> StageResult:
    """Score in parts; what a killed run had finished is taken up, and the target gets all at once or nothing."""
    setup = open_setup(model)
    batch = plan_batch(
        setup, to=to, source=source, table=table, query=query, to_table=to_table, mode=mode, keep=keep or (),
        version=version, log=log, at=at, since=since, until=until, rows=rows,
    )  # fmt: skip
    return report_batch(setup, batch, score_batch(setup, batch))
