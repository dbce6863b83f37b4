"""The parts of a batch: scored, logged, kept until all are there, then delivered at once."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tasks.core.batch.job import VARIANT, BatchJob
from tasks.core.batch.score import ScoredPart, output_frame, prediction_ids, score_part
from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window
from tasks.core.data.rows import Rows
from tasks.core.learning.scorer import Scorer
from tasks.core.serving.private import Concealer
from tasks.core.traffic.assign import entity_key
from tasks.io.batch_rows import read_parts
from tasks.io.batch_stage import BatchStage, write_whole
from tasks.io.batch_table import write_table
from tasks.io.clock import utc_now
from tasks.io.log_records import Prediction
from tasks.io.serving_secret import private_key
from tasks.io.setup import Setup
from tasks.io.sources import Source


@dataclass(frozen=True, kw_only=True)
class Work:
    """What was done.

    Attributes
    ----------
    rows, parts : int
        Scored in all.
    taken_up : int
        Parts that a run before had left.
    logged, written : int
        Rows that are new in the prediction log, and in the target.
    """

    rows: int = 0
    parts: int = 0
    taken_up: int = 0
    logged: int = 0
    written: int = 0


def score_parts(setup: Setup, job: BatchJob, source: Source, scorer: Scorer, stage: BatchStage) -> Work:
    """Score and log every part that is not done yet; each is logged before it counts as done."""
    work = Work()
    window = Window(
        -math.inf if job.since is None else job.since, math.inf if job.until is None else job.until
    )
    columns = _columns(scorer, job, setup.config)
    parts = read_parts(source, columns=columns, rows=job.rows, window=window, at=job.at)
    for number, part in enumerate(parts):
        ids = _ids(part, job, setup.config)
        mark = _mark(ids, setup.config)
        work = replace(work, rows=work.rows + len(part), parts=number + 1)
        if stage.is_done(number, mark):
            work = replace(work, taken_up=work.taken_up + 1)
            continue
        scored = score_part(scorer, part, ids, config=setup.config)
        if job.logged:
            work = replace(work, logged=work.logged + _log(setup, scored, job))
        stage.put(number, mark, output_frame(scored, version=job.version, keep=job.keep))
    return work


def deliver(job: BatchJob, address: str, stage: BatchStage, work: Work) -> Work:
    """Write all parts to the target at once, and forget them."""
    tables = stage.tables(work.parts)
    if job.table is None:
        written = write_whole(Path(address), tables)
    else:
        written, _ = write_table(address, job.table, tables, mode=job.mode)
    stage.remove()
    return replace(work, written=written)


def _columns(scorer: Scorer, job: BatchJob, config: ModelConfig) -> list[str]:
    entity = [config.data.entity] if config.data.entity else []
    return list(dict.fromkeys([*scorer.schema.features, *entity, *job.keep]))


def _ids(part: Rows, job: BatchJob, config: ModelConfig) -> list[str]:
    """Return ids; the clock's column counts by its position, so that text and timestamps are the same row."""
    own: pd.DataFrame = part.frame.drop(columns=[config.data.time] if config.data.time else [])
    return prediction_ids(own, part.places, model=job.model, version=job.version)


def _mark(ids: list[str], config: ModelConfig) -> str:
    """Return what a part was made of: rows, version, and what a configuration may turn round."""
    return hashlib.sha256("\n".join([repr(config.data.positive_class), *ids]).encode()).hexdigest()


def _log(setup: Setup, scored: ScoredPart, job: BatchJob) -> int:
    """Write predictions to the log as the service does, private values concealed; return how many are new."""
    data = setup.config.data
    conceal = Concealer(
        data.private, entity=data.entity, how=setup.config.serving.private, key=private_key(setup.settings)
    )
    features = conceal.rows(scored.logged_features)
    named = [entity_key(who) for who in scored.frame[data.entity].tolist()] if data.entity else None
    entities = conceal.entities(named) or [None] * len(scored)
    served = (
        Prediction(
            prediction_id=name,
            position=float(position),
            features=row,
            score=score,
            decision=decision,
            version=job.version,
            variant=VARIANT,
            entity=who,
        )
        for name, position, row, score, decision, who in zip(
            scored.ids,
            scored.positions,
            features,
            scored.logged_scores,
            scored.decisions,
            entities,
            strict=True,
        )
    )
    return setup.stores.log.append_predictions(setup.model, served, at=utc_now())
