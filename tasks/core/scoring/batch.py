"""A job of batch scoring: what is scored by whom, where to; the same job again is the same work."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.rows import Rows, hash_rows
from evergreen.tasks.core.errors import DataError, InputError
from evergreen.tasks.core.promotion.ledger import canonical_json
from evergreen.tasks.core.reports.html import markdown_table
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.serving.answers import Answers
from evergreen.tasks.core.training.features import answer, feature_frame
from evergreen.tasks.core.training.scoring import Scorer, decide_labels, towards_positive
from evergreen.tasks.core.verdict import StageResult

Mode = Literal["append", "replace"]
VARIANT = "batch"
"""Variant that rows scored in batches are logged under: they belong to no arm of the live traffic."""
OWN_COLUMNS = ("prediction_id", "score", "decision", "version")
"""Columns of the output that are ours (and ``score_<class>`` where there are more than two classes)."""


@dataclass(frozen=True, kw_only=True)
class BatchJob(Struct):
    """What is scored by whom, and where to."""

    model: str
    """Registered model."""
    version: int
    """Version that scores."""
    source: str
    to: str
    """``source``, ``to``: names of source and target, free of secrets."""
    table: str | None = None
    """Table of a database to write to; None: a Parquet file."""
    mode: Mode = "append"
    """``append``: a table keeps what it has, and rows that are there already stay as they are; ``replace``: it
    holds this job's predictions alone afterwards. A file is always replaced as a whole."""
    keep: tuple[str, ...] = ()
    """Columns of the source to write beside the predictions; they are part of what identifies a row."""
    logged: bool = True
    """Whether predictions are written to the prediction log."""
    at: float | None = None
    """Position of all rows where the model has no clock."""
    since: float | None = None
    until: float | None = None
    """``since``, ``until``: slice of the clock that is scored."""
    rows: int = 50_000
    """Rows a part holds: what is in memory at once, and what a repeated run need not do again."""

    def __post_init__(self) -> None:
        ours = [name for name in self.keep if name in OWN_COLUMNS or name.startswith("score_")]
        if ours:
            raise InputError(
                f"Column '{ours[0]}' cannot be kept: the output has one of that name. Rename it in the source."
            )
        if self.rows < 1:
            raise InputError(f"Parts of {self.rows} rows are not possible. Allowed: 1 or more.")

    @property
    def id(self) -> str:
        """Name of the job: equal jobs have equal ones."""
        return hashlib.sha256(canonical_json(self.to_dict()).encode()).hexdigest()[:20]


# The page of a batch: what was scored by whom, and where it went.


def score_markdown(result: StageResult) -> str:
    """Return the Markdown page of a scored batch."""
    job, details = result.details["job"], result.details
    target = f"`{job['to']}`"
    if job["table"] is not None:
        target = f"table `{job['table']}` of {target} ({job['mode']})"
    rows = [
        ("version", f"{job['version']}"),
        ("rows", f"{details['rows']:,} in {details['parts']:,} parts of at most {job['rows']:,}"),
        ("taken up", f"{details['taken_up']:,} parts that a run before had left"),
        ("from", job["source"]),
        ("to", f"{target}, {details['written']:,} rows new"),
        ("logged", f"{details['logged']:,} new predictions" if job["logged"] else "no"),
    ]
    return "\n".join([f"# {result.model}: scored", "", *markdown_table(("", ""), rows)]) + "\n"


# Score a part of a batch: ids from the rows' identity, scores, decisions, and the table they are written as.


POSITION = "@position"


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredPart:
    """Predictions for some rows."""

    frame: pd.DataFrame
    """Shape (n, …): the rows as read."""
    features: pd.DataFrame
    """Shape (n, p): what the version was asked: numbers as floats, categories as they are."""
    positions: FloatArray
    """Shape (n,): their places on the clock."""
    ids: list[str]
    """Prediction ids."""
    scores: FloatArray
    """Shape (n,) or (n, k): P(positive), probabilities, or predictions."""
    decisions: list[Any]
    """A class, or the prediction."""
    classes: tuple[Any, ...]
    """Classes of the columns of ``scores``; empty without classes."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def logged_features(self) -> list[dict[str, Any]]:
        """Features as the prediction log has them: missing ones None, and 1.0 of a category the same as 1."""
        columns = {}
        for name, column in self.features.items():
            read = float if column.dtype.kind == "f" else _whole
            columns[str(name)] = [None if _is_missing(value) else read(value) for value in column.tolist()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    @property
    def logged_scores(self) -> list[Any]:
        """Scores as the prediction log has them: a number, or one a class."""
        return Answers(self.scores, self.decisions, self.classes).plain_scores()


def prediction_ids(frame: pd.DataFrame, positions: FloatArray, *, model: str, version: int) -> list[str]:
    """Return ids that come from what a row is: model, version, position, and content of the columns given.

    The same row scored again by the same version has the same id, in whatever order, part or file format it comes;
    rows that are equal in all of this are one prediction.

    Parameters
    ----------
    frame : DataFrame, shape (n, p)
        Columns that identify a row: features, entity, what is kept. The outcome is none of them.
    positions : array, shape (n,)
        Places on the clock.
    """
    content = frame.assign(**{POSITION: positions})
    first, second = hash_rows(content, seed=1), hash_rows(content, seed=2)
    scorer = hashlib.blake2b(f"{model}\0{version}".encode(), digest_size=6).hexdigest()
    return [f"b-{scorer}-{a:016x}{b:016x}" for a, b in zip(first.tolist(), second.tolist(), strict=True)]


def score_part(scorer: Scorer, part: Rows, ids: list[str], *, config: ModelConfig) -> ScoredPart:
    """Score rows by the version's own columns, classes and threshold.

    Scores are rounded to 12 significant digits: the last bits of a linear model depend on how many rows are scored at
    once, and a repeated prediction must be the same.

    Raises
    ------
    DataError
        When a feature is missing or holds what it must not, or a score is not finite.
    """
    features = feature_frame(part.frame, scorer.schema)
    scores = answer(scorer.estimator, features, problem=config.problem.value, classes=scorer.classes)
    steady = [float(f"{score:.12g}") for score in scores.ravel().tolist()]
    scores = np.array(steady, dtype=np.float64).reshape(scores.shape)
    labels = decide_labels(scores, classes=scorer.classes, threshold=scorer.threshold)
    decisions: Any = (scores if labels is None else labels).tolist()
    classes = scorer.classes
    if config.problem == "binary":
        scores, classes = towards_positive(scores, classes, config)
    finite = np.isfinite(scores).reshape(len(scores), -1).all(axis=1)
    if not finite.all():
        raise DataError(
            f"Row {part.frame.index[int(np.argmin(finite))]} gets a score that is no finite number. Look at its "
            "features; a model that answers so cannot be used for it."
        )
    return ScoredPart(
        frame=part.frame,
        features=features,
        positions=part.places,
        ids=ids,
        scores=scores,
        decisions=decisions,
        classes=classes,
    )


def output_frame(part: ScoredPart, *, version: int, keep: tuple[str, ...]) -> pd.DataFrame:
    """Return what is written: the id, the columns kept, ``score`` (or one a class), ``decision`` and ``version``."""
    columns: dict[str, Any] = {"prediction_id": part.ids}
    columns |= {name: part.frame[name].to_numpy() for name in keep}
    if part.scores.ndim == 1:
        columns["score"] = part.scores
    else:
        columns |= {f"score_{label}": part.scores[:, n] for n, label in enumerate(part.classes)}
    columns["decision"] = part.decisions
    columns["version"] = np.full(len(part), version, dtype=np.int64)
    return pd.DataFrame(columns)


def _is_missing(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _whole(value: Any) -> Any:
    """Return a float that is a whole number as that number: a column with gaps reads 1 as 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
