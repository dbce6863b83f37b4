"""Take a version: fetch it, load it, compile it, and look at its answers before anybody else does."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deployments.service.live import ServedVersion
from tasks.core.errors import EvergreenError, Unreachable
from tasks.core.redact import without_credentials, without_places
from tasks.core.serving.compiled import compile_model
from tasks.core.serving.signature import Signature
from tasks.core.serving.smoke import SmokeFailed, prove_version, smoke_rows
from tasks.io.clock import utc_now
from tasks.io.serving_cache import ServingCache
from tasks.io.setup import Setup


def take_version(
    setup: Setup, cache: ServingCache, number: int, facts: dict[str, Any] | None = None
) -> ServedVersion:
    """Return a version that is ready to answer.

    Parameters
    ----------
    setup : Setup
        The model.
    cache : ServingCache
        Where it is loaded from.
    number : int
        The version.
    facts : dict, optional
        What the cache's ``fetch`` returned; it is fetched unless that is given.

    Raises
    ------
    Exception
        Whatever its files or its code raise; `detail_of` and `public_reason` tell it.
    """
    loaded = cache.load(number, facts)
    example = read_example(cache.files(number))
    compiled = compile_model(loaded, config=setup.config, example=example)
    rows = smoke_rows(compiled.signature, _records(example))
    try:
        answers = prove_version(compiled, rows)
    except EvergreenError:
        raise
    except Exception as error:  # a model's code raises what it likes
        raise SmokeFailed(f"It fails on {rows.n} rows of its own example.") from error
    return ServedVersion(
        number=number, model=compiled, threshold=loaded.threshold, classes=answers.classes, since=utc_now()
    )


def check_columns(served: Signature, wanted: Signature) -> None:
    """Check that a version can answer the requests that the champion's signature admits.

    Raises
    ------
    SmokeFailed
        When it needs columns, or kinds of them, that requests do not bring.
    """
    known = {column.name: column for column in served.columns}
    lacking = [column.name for column in wanted.columns if column.name not in known]
    if lacking:
        raise SmokeFailed(
            f"It needs {', '.join(lacking[:5])}, which requests for the champion do not bring. Promote it by the "
            "offline path, or train it on the champion's columns."
        )
    other = [
        one.name for one in wanted.columns if (known[one.name].kind == "number") != (one.kind == "number")
    ]
    if other:
        raise SmokeFailed(f"It takes another kind of value in {', '.join(other[:5])} than the champion.")


def read_example(files: Path) -> pd.DataFrame | None:
    """Return a model's input example; None where it has none that is a data frame."""
    from mlflow.models import Model

    example: Any = Model.load(str(files)).load_input_example(str(files))
    return example if isinstance(example, pd.DataFrame) else None


def reason_of(error: BaseException) -> str:
    """Return what went wrong in a sentence, without credentials; of other people's errors only the kind and a line."""
    said = str(error) if isinstance(error, EvergreenError) else f"{type(error).__name__}: {error}"
    return " ".join(without_credentials(said).split())[:300].rstrip(".")


def detail_of(error: BaseException) -> str:
    """Return why a version was refused, for who operates the service: with what a model's code or a driver said of it.

    Requests take no part in a refusal: what is said is said of the version's files, and of rows of its own example.
    """
    foreign, said = _foreign_cause(error), reason_of(error)
    words = "" if foreign is None else reason_of(foreign)
    return said if not words or " ".join(str(foreign).split())[:40] in said else f"{said} ({words})"


def public_reason(error: BaseException, *, when: str = "") -> str:
    """Return what anybody who asks may know of it: our own sentence without addresses and paths, else the kind alone.

    A sentence of ours about an error of a driver, a file system or a model's own code may repeat its words; those go
    to the service's log. ``when`` says what was being done.
    """
    foreign = _foreign_cause(error)
    if foreign is None and not isinstance(error, Unreachable):
        return without_places(reason_of(error))
    return (
        f"{type(foreign or error).__name__}{when and f' when {when}'}, of which the service's log says more"
    )


def _foreign_cause(error: BaseException) -> BaseException | None:
    """Return the first error that is not ours among an error and those it was raised from."""
    found: BaseException | None = error
    while isinstance(found, EvergreenError):
        found = found.__cause__
    return found


def _records(example: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Return rows as a client would send them."""
    if example is None:
        return []
    return [{str(name): _plain(value) for name, value in row.items()} for row in example.to_dict("records")]


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
