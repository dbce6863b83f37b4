"""Score a batch: rows of a table or files in, predictions of one version out, logged like live ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from tasks.core.batch.job import BatchJob, Mode
from tasks.core.batch.report import score_markdown
from tasks.core.config.model import overlay_model
from tasks.core.data.clock import parse_position
from tasks.core.errors import InputError, NotLearnable, unknown_name
from tasks.core.reign.plan import CHAMPION
from tasks.core.verdict import Reason, StageResult, State
from tasks.data import open_source_of, read_secret
from tasks.io.batch_stage import hold_stage
from tasks.io.batch_table import check_url
from tasks.io.models import load_model
from tasks.io.setup import Setup
from tasks.io.sources import Source, open_source
from tasks.io.sources_files import detect_format
from tasks.links import artifact_key
from tasks.retries import TRANSIENT
from tasks.score_parts import Work, deliver, score_parts
from tasks.stage_task import stage_task


@dataclass(frozen=True, kw_only=True)
class Batch:
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
) -> Batch:
    """Read and check what is wanted; nothing is scored or written yet.

    Raises
    ------
    InputError
        When source, target, version or a moment is wrong.
    NotLearnable
        ``no_champion``: there is no version to score by.
    """
    opened = _open(setup, source, table, query)
    address, shown = _target(to, to_table)
    moment, begin, end = (_position(setup, text) for text in (at, since, until))
    clocked = setup.config.data.ordered
    if log and not clocked and moment is None:
        raise InputError(
            f"Model '{setup.model}' has no clock, so that predictions have no place in the log. Say --at MOMENT, which "
            "holds for all rows, or --no-log."
        )
    if clocked and moment is not None:
        raise InputError(
            "--at is for models without a clock; this one's rows say themselves where they stand."
        )
    job = BatchJob(
        model=setup.model,
        version=_version(setup, version),
        source=opened.origin,
        to=shown,
        table=to_table,
        mode=mode,
        keep=tuple(keep),
        logged=log,
        at=moment,
        since=begin,
        until=end,
        rows=rows,
    )
    return Batch(job=job, source=opened, address=address)


@stage_task(name="score batch", **TRANSIENT)
def score_batch(setup: Setup, batch: Batch) -> Work:
    """Score part by part, then write all at once; parts that a killed run had finished are not done again."""
    scorer = load_model(setup, batch.job.version)
    with hold_stage(setup.settings.home, batch.job) as stage:
        work = score_parts(setup, batch.job, batch.source, scorer, stage)
        if not work.rows:
            raise NotLearnable("no_rows", f"There is nothing to score in {batch.source.origin}.", n=0)
        return deliver(batch.job, batch.address, stage, work)


@stage_task(name="report batch", **TRANSIENT)
def report_batch(setup: Setup, batch: Batch, work: Work) -> StageResult:
    """Say what was done, in the Prefect UI too."""
    job = batch.job
    target = job.to if job.table is None else f"table '{job.table}' of {job.to}"
    message = (
        f"Version {job.version} scored {work.rows} rows of {job.source}; {work.written} are new in {target}."
    )
    result = StageResult(
        state=State.SCORED,
        model=setup.model,
        version=job.version,
        reasons=(Reason(code="scored", message=message, observed=work.written, n=work.rows),),
        details={"job": {**job.to_dict(), "id": job.id}, **vars(work)},
    )
    create_markdown_artifact(
        score_markdown(result), key=artifact_key("score", setup.model), description="Batch scoring"
    )
    return result


def _open(setup: Setup, source: str | None, table: str | None, query: str | None) -> Source:
    """Return the source named, from the folder one is in, or that of the configuration."""
    if source is None:
        if table or query:
            raise InputError("--table and --query are of a --source that is a database. Name it.")
        return open_source_of(setup)
    data: dict[str, Any] = {"source": source, "table": table, "query": query, "format": "auto", "options": {}}
    config = overlay_model(setup.config, {"data": data}, origin="--source")
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


def _position(setup: Setup, text: str | None) -> float | None:
    return None if text is None else parse_position(text, clock=setup.config.data.clock)


def _version(setup: Setup, named: str | None) -> int:
    """Return the version a number or an alias means; the champion by default."""
    registry, model = setup.stores.registry, setup.model
    aliases = registry.aliases(model)
    if named is None:
        if CHAMPION not in aliases:
            raise NotLearnable(
                "no_champion",
                f"Model '{model}' has no champion to score by. Promote a version, or name --version.",
            )
        return aliases[CHAMPION]
    plain = named.strip().removeprefix("@")
    if plain.isdecimal():
        return registry.version(model, int(plain)).version
    if plain not in aliases:
        raise unknown_name("version or alias", named, aliases, where=f"model '{model}'")
    return aliases[plain]
