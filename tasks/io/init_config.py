"""Write a configuration file: complete or not at all, and never over an existing one unasked."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
import yaml

from evergreen.tasks.core.config import ModelConfig, parse_model
from evergreen.tasks.core.errors import InputError, NotLearnable
from evergreen.tasks.core.init.clock import ClockColumn
from evergreen.tasks.core.init.config_text import render_config
from evergreen.tasks.core.init.proposal import Proposal, ProposalData, check_roles, propose, survey
from evergreen.tasks.core.init.windows import ProposedKey
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io.files import write_file
from evergreen.tasks.io.settings import read_settings
from evergreen.tasks.io.sources.base import detect_format
from evergreen.tasks.io.sources.open import named_as, open_source
from evergreen.tasks.io.sources.sql import only_table

_PACKED = (".gz", ".bz2", ".xz", ".zst")
_FILES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".parq", ".yaml", ".yml")
UP = 3
"""More steps up than this and an absolute path is easier to read."""


def check_writable(path: Path, *, force: bool) -> None:
    """Check that a file may be written, before any work is done for it.

    Raises
    ------
    InputError
        When the file exists and ``force`` is not given, it is no YAML file, or a folder bears its name.
    """
    above = next((folder for folder in path.parents if folder.exists()), path.parent)
    problems = {
        "does not end in .yaml. Name a YAML file with --out.": path.suffix not in (".yaml", ".yml"),
        "is the file of defaults. Name another file with --out.": path.stem == "base",
        "is a folder. Name a YAML file with --out.": path.is_dir(),
        f"cannot be written: '{above}' is no folder to write in. Name another with --out.": (
            not above.is_dir() or not os.access(above, os.W_OK)
        ),
        "exists already. Name another file with --out, or overwrite it with --force.": (
            path.exists() and not force
        ),
    }
    for problem, is_there in problems.items():
        if is_there:
            raise InputError(f"'{path}' {problem}")


def name_source(data: str, *, base: Path, folder: Path, model: str) -> tuple[str, str]:
    """Return how a configuration in ``folder`` names what was typed as ``data`` in ``base``, and a remark on it.

    Paths start at the file's folder, addresses stay, and a password never stands in a file: it moves to the
    environment.

    >>> name_source("s3://bucket/rows.parquet", base=Path("/a"), folder=Path("/b"), model="m")
    ('s3://bucket/rows.parquet', '')
    """
    kind = detect_format(data)
    if kind == "python" or data.startswith(("env:", "secret:")) or (kind == "files" and "://" in data):
        return data, ""
    if kind == "files":
        return _near(Path(os.path.abspath(base / data)), folder), ""
    url = sa.make_url(data)
    if url.password:
        name = f"{re.sub(r'[^A-Z0-9]+', '_', model.upper())}_SOURCE"
        return f"env:{name}", f"The URL holds a password, so set the environment variable {name} to it."
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_absolute():
        return str(url.set(database=_near(Path(os.path.abspath(base / url.database)), folder))), ""
    return data, ""


def _near(path: Path, folder: Path) -> str:
    near = os.path.relpath(path, folder)
    return near if Path(near).parts.count("..") <= UP else str(path)


# Survey data without a configuration and write a configuration that runs as it is.


def init_config(
    data: str,
    *,
    target: str,
    time: str | None = None,
    group: str | None = None,
    out: str | Path | None = None,
    table: str | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write a commented configuration for a data set.

    Parameters
    ----------
    data : str
        CSV or Parquet file, glob, URL of files or of a database; relative to the current folder.
    target, time, group : str
        Columns to predict, of the clock, and of the group a ranking orders within.
    out : str or Path, optional
        YAML file to write; default: named after the data, in the folder of configurations.
    table : str, optional
        Table of a database; may be left out where there is only one.
    force : bool
        Overwrite the file.

    Returns
    -------
    dict
        ``state`` (``Written``), ``reasons`` (each warning), ``model``, ``path``, ``problem``, ``exclude`` and what
        was read and proposed.

    Raises
    ------
    InputError
        When what was typed is wrong or cannot be read; nothing is written.
    NotLearnable
        When there are no rows, or the target holds fewer than two values; nothing is written.
    """
    if table is None and detect_format(data) == "sql":
        with named_as("DATA"):
            table = only_table(data, base=Path.cwd())
    model = model_name(table or data)
    path = Path(out).absolute() if out else read_settings().config_dir / f"{model}.yaml"
    check_writable(path, force=force)
    model = model_name(path.stem) if out else model
    frame, origin = _read(data, table=table, target=target, roles={"time": time, "group": group})
    described, why = survey(frame, target=target, time=time, group=group, rng=np.random.default_rng(0))
    proposal = propose(described)
    entries = _data_entries(
        described, data=data, table=table, folder=path.parent, model=model, time_given=time is not None
    )
    head = (
        f"Proposed by 'evergreen init' from {len(frame):,} rows and {len(frame.columns)} columns of {origin}."
    )
    text = render_config(proposal, head=head, model=model, why_problem=why, data=entries)
    config = parse_model(yaml.safe_load(text), origin=path.name)
    write_file(path, text)
    return _summary(config, proposal, described, path=path)


def model_name(data: str) -> str:
    """Return a name for the model of a file, table or address.

    >>> model_name("data/bike hour.csv"), model_name("s3://bucket/2024/*.parquet"), model_name("public.loans")
    ('bike_hour', '2024', 'loans')
    """
    parts = [part for part in re.split(r"[/\\]", data) if part and "*" not in part and "?" not in part]
    stem = parts[-1] if parts else "model"
    for ending in (*_PACKED, *_FILES):
        stem = stem.removesuffix(ending)
    words = re.sub(r"[^A-Za-z0-9_-]+", "_", stem.rpartition(".")[2]).strip("_-")
    return words or "model"


def _read(
    data: str, *, table: str | None, target: str, roles: dict[str, str | None]
) -> tuple[pd.DataFrame, str]:
    """Return all rows as they stand in the source, and its name free of secrets."""
    draft = {
        "model": "draft",
        "problem": "regression",
        "data": {"source": data, "table": table, "target": target},
        "training": {"candidates": [{"name": "none", "estimator": "sklearn.dummy.DummyRegressor"}]},
    }
    with named_as("DATA"):
        source = open_source(parse_model(draft, origin="the command"), base=Path.cwd())
        check_roles(source.loader.columns(), origin=source.origin, target=target, **roles)
        frame = source.read()
    if frame.empty:
        raise NotLearnable(
            "too_few_rows", f"{source.origin} holds column names but no rows. Bring rows.", observed=0.0
        )
    return frame, source.origin


def _data_entries(
    described: ProposalData, *, data: str, table: str | None, folder: Path, model: str, time_given: bool
) -> list[ProposedKey]:
    source, why = name_source(data, base=Path.cwd(), folder=folder, model=model)
    given = [
        ProposedKey(key="source", value=source, why=why),
        *([ProposedKey(key="table", value=table)] if table else []),
        ProposedKey(key="target", value=described.target),
        *([ProposedKey(key="group", value=described.group)] if described.group else []),
    ]
    if described.clock is not None:
        clock: ClockColumn = described.clock
        why = "The only complete column of times that the rows follow; write null if it is no clock."
        form = [ProposedKey(key="time_format", value=clock.time_format)] if clock.time_format else []
        return [
            *given,
            ProposedKey(key="time", value=clock.column, why="" if time_given else why),
            ProposedKey(key="clock", value=clock.clock),
            *form,
        ]
    named = ", ".join(described.times)
    hint = f" These columns read as times: {named}; name one as 'time' if rows follow it." if named else ""
    no_clock = "No clock: rows have no order, so splits are random by row and tests take rows as independent."
    return [*given, ProposedKey(key="time", value=None, why=no_clock + hint)]


def _summary(
    config: ModelConfig, proposal: Proposal, described: ProposalData, *, path: Path
) -> dict[str, Any]:
    reasons = [
        *(
            Reason(
                code="leak" if why.startswith("leak") else "not_a_feature",
                message=f"Column '{name}' is excluded: {why}.",
            )
            for name, why in proposal.exclude.items()
        ),
        *proposal.warnings,
    ]
    return {
        "state": "Written",
        "reasons": [reason.to_dict() for reason in reasons],
        "model": config.model,
        "path": str(path),
        "problem": proposal.problem,
        "metric": config.evaluation.metric,
        "rows": described.rows,
        "time": config.data.time,
        "clock": config.data.clock if config.data.time else None,
        "exclude": proposal.exclude,
        "warnings": [reason.message for reason in proposal.warnings],
        "numeric": list(proposal.numeric),
        "categorical": list(proposal.categorical),
        "proposed": {entry.key: entry.value for entry in proposal.entries},
        "candidates": [candidate["name"] for candidate in proposal.candidates],
    }
