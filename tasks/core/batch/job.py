"""A job of batch scoring: what is scored by whom, where to; the same job again is the same work."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks.core.errors import InputError
from tasks.core.reign.ledger import canonical_json

Mode = Literal["append", "replace"]
VARIANT = "batch"
"""Variant that rows scored in batches are logged under: they belong to no arm of the live traffic."""
OWN_COLUMNS = ("prediction_id", "score", "decision", "version")
"""Columns of the output that are ours (and ``score_<class>`` where there are more than two classes)."""


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """What is scored by whom, and where to.

    Attributes
    ----------
    model : str
        Registered model.
    version : int
        Version that scores.
    source, to : str
        Names of source and target, free of secrets.
    table : str | None
        Table of a database to write to; None: a Parquet file.
    mode : str
        ``append``: a table keeps what it has, and rows that are there already stay as they are; ``replace``: it
        holds this job's predictions alone afterwards. A file is always replaced as a whole.
    keep : tuple of str
        Columns of the source to write beside the predictions; they are part of what identifies a row.
    logged : bool
        Whether predictions are written to the prediction log.
    at : float | None
        Position of all rows where the model has no clock.
    since, until : float | None
        Slice of the clock that is scored.
    rows : int
        Rows a part holds: what is in memory at once, and what a repeated run need not do again.
    """

    model: str
    version: int
    source: str
    to: str
    table: str | None = None
    mode: Mode = "append"
    keep: tuple[str, ...] = ()
    logged: bool = True
    at: float | None = None
    since: float | None = None
    until: float | None = None
    rows: int = 50_000

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

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "keep": list(self.keep)}
