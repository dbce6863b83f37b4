"""Take a version: fetch it, load it, compile it, and look at its answers before anybody else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from deployments.service.live import ServedVersion
from tasks.core.errors import EvergreenError
from tasks.core.metrics.scored import FloatArray
from tasks.core.redact import without_credentials
from tasks.core.serving.answers import decider_of
from tasks.core.serving.batch import Batch
from tasks.core.serving.compiled import CompiledModel, compile_model
from tasks.core.serving.frame_model import FrameModel
from tasks.core.serving.signature import Signature
from tasks.core.serving.smoke import SmokeFailed, prove_version, smoke_rows
from tasks.io.clock import utc_now
from tasks.io.models import LoadedModel
from tasks.io.serving_cache import ServingCache
from tasks.io.setup import Setup


def take_version(setup: Setup, cache: ServingCache, number: int) -> ServedVersion:
    """Return a version that is ready to answer.

    Raises
    ------
    Exception
        Whatever its files or its code raise; `reason_of` tells it.
    """
    loaded = cache.load(number)
    compiled = compile_model(loaded, config=setup.config)
    rows = smoke_rows(compiled.signature, read_example(cache.files(number), compiled.signature))
    answers = prove_version(compiled, rows, expected=_own_answers(setup, loaded, compiled, rows))
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


def read_example(files: Path, signature: Signature) -> list[dict[str, Any]]:
    """Return the rows of a model's input example; none where it has none that can be read."""
    from mlflow.models import Model

    example: Any = Model.load(str(files)).load_input_example(str(files))
    if not hasattr(example, "to_dict"):
        return []
    plain = example.astype(object).where(example.notna(), None)
    return [{str(name): _plain(value) for name, value in row.items()} for row in plain.to_dict("records")]


def reason_of(error: Exception) -> str:
    """Return what went wrong in a sentence, without credentials; of other people's errors only the kind and a line."""
    said = str(error) if isinstance(error, EvergreenError) else f"{type(error).__name__}: {error}"
    return " ".join(without_credentials(said).split())[:300].rstrip(".")


def _own_answers(
    setup: Setup, loaded: LoadedModel, compiled: CompiledModel, rows: Batch
) -> FloatArray | None:
    """Return the estimator's own answers, where the version answers in another form."""
    if isinstance(compiled, FrameModel):
        return None
    own = FrameModel(
        signature=compiled.signature,
        estimator=loaded.estimator,
        problem=setup.config.problem.value,
        decider=decider_of(loaded.recipe, setup.config),
    )
    return own.score(rows).scores


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
