"""Types of flow parameters, so that the run form of the Prefect UI offers what there is."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, GetJsonSchemaHandler

from evergreen.tasks.core.promotion.registry_state import ExpectedChampion
from evergreen.tasks.io.config import list_models
from evergreen.tasks.io.settings import read_settings


class FormHints:
    """Adds to a parameter's JSON schema what the form shows: a description and, for models, what there is.

    Prefect sets a ``Field`` of its own over ours, so that hints in it would be lost.
    """

    def __init__(self, description: str, *, models: bool = False) -> None:
        self.description = description
        self.models = models

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema with the hints."""
        schema = {**handler(core), "description": self.description}
        models = list_models(read_settings().config_dir) if self.models else []
        return {**schema, "enum": models} if models else schema


ModelName = Annotated[
    str, FormHints("A model of config/ (in Python also the path of a YAML file)", models=True)
]
"""Name of a model; a drop-down of the configured ones in the UI."""

AsOf = Annotated[
    str | None,
    FormHints("Use nothing at or after this moment of the clock, nor labels unknown then (default: all)"),
]
"""A moment on the model's clock."""

RecheckFrom = Annotated[
    str | None,
    FormHints("Check the windows from this moment of the clock on again; nothing is recorded or sent"),
]
"""Start of a range that was checked before."""

Until = Annotated[str | None, FormHints("As of this moment of the clock (default: now)")]
"""End of what is checked."""

ModelNames = Annotated[list[ModelName] | None, FormHints("Models of config/ (default: all of them)")]
"""Names of models."""

Trigger = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_\-]*$"),
    FormHints("What caused this run (manual, schedule, drift, performance, …); recorded with the version"),
]
"""What caused a run."""

ModelUri = Annotated[
    str, FormHints("MLflow model: runs:/RUN/model, models:/NAME/VERSION, or a folder with an MLmodel file")
]
"""Address of a model that was trained elsewhere."""

TrainedTo = Annotated[str, FormHints("End of what the model was trained on, on the model's clock")]
"""End of a foreign model's training rows."""

Version = Annotated[int | None, FormHints("Number of a version (default: the next in line)")]
"""Number of a version."""

Expected = Annotated[
    ExpectedChampion,
    FormHints("Act only if this version is the champion now; 'any': whichever, None: no version"),
]
"""Which version must be the champion."""

Evidence = Annotated[
    str | None, FormHints("Id of the decision that this promotion rests on, as the ledger names it")
]
"""Decision that a promotion rests on."""

ReasonText = Annotated[str, FormHints("Why; recorded in the ledger with the plan")]
"""Reason of a promotion or rollback."""

Force = Annotated[bool, FormHints("Start although cooldown, budget or quiet hours hold it; needs a reason")]
"""Whether a person overrides what holds a retraining."""

ForceReason = Annotated[str | None, FormHints("Why it is forced; recorded in the ledger")]
"""Reason of a forced start."""

Since = Annotated[
    str | None,
    FormHints(
        "When the last change was detected, on the model's clock (for retraining.window: since_change)"
    ),
]
"""The newest change that is known."""

Policies = Annotated[
    str, FormHints("Policies to compare, by comma: configured, never, every, periodic:SPAN, fixed_thresholds")
]
"""Names of policies."""

StartAt = Annotated[
    str | None,
    FormHints("Train the first model as of this moment of the clock (default: after 30 % of the rows)"),
]
"""Where a replay begins."""

Full = Annotated[
    bool,
    FormHints(
        "All candidates compete in each retraining, and contracts are checked (default: the first winner)"
    ),
]
"""Whether candidates are searched again."""

SearchMethod = Annotated[
    Literal["grid", "random"] | None, FormHints("Also search for settings: grid or random (default: do not)")
]
"""How settings are searched."""

TrialCount = Annotated[int, Field(ge=1, le=500), FormHints("Settings that a search tries")]
"""How many settings are tried."""

EndNow = Annotated[bool, FormHints("End the live test now: promote who has won, else keep the champion")]
"""Whether a live test ends with this analysis."""

DryRun = Annotated[bool, FormHints("Decide and report, change nothing")]
"""Whether anything is changed."""

BatchTarget = Annotated[
    str,
    FormHints("Where predictions go: a Parquet file, or the SQLAlchemy URL of a database (with to_table)"),
]
"""Target of batch scoring."""

BatchSource = Annotated[
    str | None,
    FormHints("What is scored: CSV, Parquet, an SQLAlchemy URL or a function (default: data.source)"),
]
"""Source of batch scoring."""

SourceTable = Annotated[str | None, FormHints("Table of a source that is a database")]
"""Table that is read."""

SourceQuery = Annotated[str | None, FormHints("Query on a source that is a database")]
"""Query that is read."""

TargetTable = Annotated[
    str | None, FormHints("Table of a target that is a database; made where it is missing")
]
"""Table that is written."""

BatchMode = Annotated[
    Literal["append", "replace"],
    FormHints("append: rows of the table that are there stay; replace: it holds these predictions alone"),
]
"""What becomes of a table's rows."""

AddedColumns = Annotated[
    list[str] | None, FormHints("Columns of the source to write beside the predictions, e.g. its key")
]
"""Columns written beside predictions."""

VersionOrAlias = Annotated[
    str | None, FormHints("Version number or alias that scores (default: the champion)")
]
"""Who scores."""

LogPredictions = Annotated[bool, FormHints("Write predictions to the prediction log, as live ones are")]
"""Whether predictions are logged."""

WhereNoClock = Annotated[str | None, FormHints("Moment of all rows, where the model has no clock")]
"""Position of rows without a clock."""

SliceStart = Annotated[str | None, FormHints("Score rows from this moment of the clock on (default: all)")]
"""Start of the slice that is scored."""

SliceEnd = Annotated[str | None, FormHints("Score rows before this moment of the clock (default: all)")]
"""End of the slice that is scored."""

PartRows = Annotated[int, Field(ge=1), FormHints("Rows in memory at once")]
"""Rows of a part."""
