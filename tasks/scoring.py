"""Score a batch: rows of a table or files in, predictions of one version out, logged like live ones."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evergreen.tasks.core.config.model import overlay_model
from evergreen.tasks.core.data.clock import Window, parse_position, require_order
from evergreen.tasks.core.errors import InputError, NotLearnable, unknown_name
from evergreen.tasks.core.promotion.plan import CHAMPION
from evergreen.tasks.core.scoring import batch as batch_scoring
from evergreen.tasks.core.scoring.batch import BatchJob, Mode, ScoredPart
from evergreen.tasks.core.serving.batch import Concealer
from evergreen.tasks.core.traffic.assign import entity_key
from evergreen.tasks.core.training.scoring import Scorer
from evergreen.tasks.core.verdict import Reason, StageResult, State
from evergreen.tasks.data import open_source_of, read_secret
from evergreen.tasks.io.batch import BatchStage, check_url, hold_stage, read_parts, write_table, write_whole
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.prediction_log.records import Prediction
from evergreen.tasks.io.serving_keys import private_key
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup
from evergreen.tasks.io.sources.base import detect_format
from evergreen.tasks.io.sources.open import Source, named_as, open_source
from evergreen.tasks.runtime.publish import Artifact, show
from evergreen.tasks.runtime.task import TRANSIENT, stage_task


@dataclass(kw_only=True)
class Work:
    """What a batch has done, counted."""

    rows: int = 0
    parts: int = 0
    """Scored in all, as are rows."""
    taken_up: int = 0
    """Parts that a run before had left."""
    logged: int = 0
    """Rows that are new in the prediction log."""
    written: int = 0
    """Rows that are new in the target."""


def score_parts(setup: Setup, job: BatchJob, source: Source, scorer: Scorer, stage: BatchStage) -> Work:
    """Score and log every part that is not done yet; each is logged before it counts as done."""
    work, config, data = Work(), setup.config, setup.config.data
    start, end = -math.inf if job.since is None else job.since, math.inf if job.until is None else job.until
    entity = [data.entity] if data.entity else []
    columns = list(dict.fromkeys([*scorer.schema.features, *entity, *job.keep]))
    parts = read_parts(source, columns=columns, rows=job.rows, window=Window(start, end), at=job.at)
    for number, part in enumerate(parts):
        # the clock's column counts by its position, so that text and timestamps are the same row
        own: pd.DataFrame = part.frame.drop(columns=[data.time] if data.time else [])
        ids = batch_scoring.prediction_ids(own, part.places, model=job.model, version=job.version)
        # what the part was made of: rows, version, and which class is the positive one
        digest = hashlib.sha256("\n".join([repr(data.positive_class), *ids]).encode()).hexdigest()
        work.rows, work.parts = work.rows + len(part), number + 1
        if stage.is_done(number, digest):
            work.taken_up += 1
            continue
        scored = batch_scoring.score_part(scorer, part, ids, config=config)
        if job.logged:
            work.logged += _log(setup, scored, job)
        stage.put(number, digest, batch_scoring.output_frame(scored, version=job.version, keep=job.keep))
    return work


def deliver(job: BatchJob, address: str, stage: BatchStage, work: Work) -> Work:
    """Write all parts to the target at once, and remove them."""
    tables = stage.tables(work.parts)
    if job.table is None:
        work.written = write_whole(Path(address), tables)
    else:
        work.written, _ = write_table(address, job.table, tables, mode=job.mode)
    stage.remove()
    return work


def _log(setup: Setup, scored: ScoredPart, job: BatchJob) -> int:
    """Write predictions to the log as the service does, private values concealed; return how many are new."""
    data = setup.config.data
    conceal = Concealer(
        data.private, entity=data.entity, how=setup.config.serving.private, key=private_key(setup.settings)
    )
    features = conceal.rows(scored.logged_features)
    keys = [entity_key(value) for value in scored.frame[data.entity].tolist()] if data.entity else None
    entities = conceal.entities(keys) or [None] * len(scored)
    answers = (scored.logged_scores, scored.decisions)
    predictions = (
        Prediction(
            prediction_id=prediction_id,
            position=float(position),
            features=row,
            score=score,
            decision=decision,
            version=job.version,
            variant=batch_scoring.VARIANT,
            entity=entity,
        )
        for prediction_id, position, row, score, decision, entity in zip(
            scored.ids, scored.positions, features, *answers, entities, strict=True
        )
    )
    return setup.stores.log.append_predictions(setup.model, predictions, at=utc_now())


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """What is to be scored, read and checked: the job, where its rows come from, and the address it goes to."""

    job: BatchJob
    source: Source
    address: str


def plan_batch(
    setup: Setup,
    *,
    to: str,
    source: str | None = None,
    table: str | None = None,
    query: str | None = None,
    to_table: str | None = None,
    mode: Mode = "append",
    keep: Sequence[str] = (),
    version: str | None = None,
    log: bool = True,
    at: str | None = None,
    since: str | None = None,
    until: str | None = None,
    rows: int = 50_000,
) -> BatchPlan:
    """Read and check the request; nothing is scored or written yet.

    Raises
    ------
    InputError
        When source, target, version or a moment is wrong.
    NotLearnable
        ``no_champion``: there is no version to score by.
    """
    rows_from = _open(setup, source, table, query)
    address, shown = _target(to, to_table)
    data = setup.config.data
    moment, start, end = (
        None if text is None else parse_position(text, clock=data.clock) for text in (at, since, until)
    )
    require_order(start, end, clock=data.clock)
    if log and not data.ordered and moment is None:
        raise InputError(
            f"Model '{setup.model}' has no clock, so that predictions have no place in the log. Add --at MOMENT, which "
            "holds for all rows, or --no-log."
        )
    if data.ordered and moment is not None:
        raise InputError(
            "--at is for models without a clock; the rows of this one have their own. Leave it out."
        )
    job = BatchJob(
        model=setup.model,
        version=_version(setup, version),
        source=rows_from.origin,
        to=shown,
        table=to_table,
        mode=mode,
        keep=tuple(keep),
        logged=log,
        at=moment,
        since=start,
        until=end,
        rows=rows,
    )
    return BatchPlan(job=job, source=rows_from, address=address)


@stage_task(name="score batch", **TRANSIENT)
def score_batch(setup: Setup, batch: BatchPlan) -> Work:
    """Score part by part, then write all at once; parts that a killed run had finished are not done again."""
    scorer = load_model(setup, batch.job.version)
    with hold_stage(setup.settings.home, batch.job) as stage:
        work = score_parts(setup, batch.job, batch.source, scorer, stage)
        if not work.rows:
            raise NotLearnable("no_rows", f"There is nothing to score in {batch.source.origin}.", n=0)
        return deliver(batch.job, batch.address, stage, work)


@stage_task(name="report batch", **TRANSIENT)
def report_batch(setup: Setup, batch: BatchPlan, work: Work) -> StageResult:
    """Return what was done, and show it in Prefect."""
    job = batch.job
    message = describe_batch(job, work)
    result = StageResult(
        state=State.SCORED,
        model=setup.model,
        version=job.version,
        reasons=(Reason(code="scored", message=message, observed=work.written, n=work.rows),),
        details={"job": {**job.to_dict(), "id": job.id}, **vars(work)},
    )
    show(setup.model, Artifact("score-{model}", "Batch scoring", batch_scoring.score_markdown(result)))
    return result


def describe_batch(job: BatchJob, work: Work) -> str:
    """Return what a batch came to: rows scored, rows new in target and log, or that a repeated one changed nothing."""
    where = f"table '{job.table}' of {job.to}"
    if job.table is None:
        new = f"{job.to} holds them"
    elif work.written:
        new = f"{work.written} are new in {where}"
    else:
        new = f"all of them were in {where} already, and nothing was changed"
    repeated = " The log held all of these predictions already." if job.logged and not work.logged else ""
    return f"Version {job.version} scored {work.rows} rows of {job.source}; {new}.{repeated}"


def _open(setup: Setup, source: str | None, table: str | None, query: str | None) -> Source:
    """Return the source named, from the folder one is in, or that of the configuration."""
    if source is None:
        if table or query:
            raise InputError("--table and --query are of a --source that is a database. Name it.")
        return open_source_of(setup)
    data: dict[str, Any] = {"source": source, "table": table, "query": query, "format": "auto", "options": {}}
    config = overlay_model(setup.config, {"data": data}, origin="--source")
    with named_as("--source"):
        return open_source(config, base=Path.cwd(), secret=read_secret)


def _target(to: str, table: str | None) -> tuple[str, str]:
    """Return the address and what may be shown of it."""
    if detect_format(to) == "sql":
        if table is None:
            raise InputError("--to is a database: name the table with --to-table.")
        return to, check_url(to)
    if table is not None:
        raise InputError(f"--to-table needs a database, but --to '{to}' is a file. Leave it out.")
    path = Path(to).expanduser().absolute()
    if path.suffix not in (".parquet", ".pq") or path.is_dir():
        raise InputError(
            f"--to '{to}' is neither a Parquet file nor a database. Allowed: a path that ends in .parquet, or an "
            "SQLAlchemy URL."
        )
    return str(path), str(path)


def _version(setup: Setup, named: str | None) -> int:
    """Return the version a number or an alias means; the champion by default."""
    registry, model = setup.stores.registry, setup.model
    aliases, name = registry.aliases(model), (named or CHAMPION).strip().removeprefix("@")
    if name.isdecimal():
        return registry.version(model, int(name)).version
    if name in aliases:
        return aliases[name]
    if named is None:
        message = f"Model '{model}' has no champion to score by. Promote a version, or name --version."
        raise NotLearnable("no_champion", message)
    raise unknown_name("version or alias", named, aliases, where=f"model '{model}'")
