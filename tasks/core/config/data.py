"""Where a model's rows come from and what their columns mean."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from evergreen.tasks.core.config.units import (
    AnySpan,
    Count,
    Fraction,
    OpenFraction,
    Section,
    Span,
    parse_span,
)


class DataConfig(Section):
    """Source, roles of columns, and the clock."""

    source: str
    """File, glob or fsspec URL (CSV, Parquet), SQLAlchemy URL, or `package.module:function` for a generator.
    `env:NAME` and `secret:BLOCK` are looked up, so that no secret stands in YAML. Relative paths start at this file."""
    format: str = "auto"
    """Kind of source: `csv`, `parquet`, `sql`, `python`, one of an installed package, or one of the team's own by
    dotted path (docs/extending.md); `auto` reads it from the source's ending or scheme."""
    table: str | None = None
    """Table to read (SQL sources; `schema.table` works)."""
    query: str | None = None
    """Query to read instead of a table (SQL sources); it is wrapped, so that a window reads only its rows."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments for a Python generator, or storage options of an fsspec URL."""
    target: str
    """Column to predict."""
    time: str | None = None
    """Column of the clock. Without it rows have no order and splits are random, unless `clock: rows` counts
    them as they stand in the source."""
    clock: Literal["timestamp", "seconds", "rows"] = "timestamp"
    """What `time` holds: timestamps (naive ones are UTC), seconds since any start, or row numbers."""
    time_format: str | None = None
    """strptime format of text timestamps that are not ISO 8601."""
    group: str | None = None
    """Column of the group a ranking orders within (a race, a query). Groups are never split."""
    entity: str | None = None
    """Column of an entity (customer, machine) whose rows depend on each other; tests are blocked by it."""
    label_time: str | None = None
    """Column that says when a row's label became known."""
    label_delay: AnySpan = Span(0.0, "seconds", "0s")
    """Time (or rows) after which a row's label is known, where no column says it."""
    positive_class: Any = None
    """Label that counts as positive (binary); default: the greater of the two."""
    value_column: str | None = None
    """Column with the worth of a row, for the business metric."""
    weight: str | None = None
    """Column of sample weights for training."""
    exclude: dict[str, str] = Field(default_factory=dict)
    """Columns never used as features, each with the reason (identifier, leak, …)."""
    numeric: list[str] | None = None
    """Numeric features; default: read from the data."""
    categorical: list[str] | None = None
    """Categorical features; default: read from the data."""
    drop_duplicates: bool = False
    """Drop exact duplicate rows (they are always reported)."""
    private: list[str] = Field(default_factory=list)
    """Columns whose values must not appear in reports, samples or input examples."""

    @property
    def ordered(self) -> bool:
        """True when rows have a clock: a column, or their order in the source where `clock: rows` says so."""
        return self.time is not None or self.clock == "rows"

    @field_validator("exclude", mode="before")
    @classmethod
    def _exclude_may_be_a_list(cls, value: Any) -> Any:
        return {str(name): "excluded by hand" for name in value} if isinstance(value, list) else value


class SplitConfig(Section):
    """How rows are divided: training · holdout (gate) · evaluation (challenge)."""

    method: Literal["auto", "time", "random"] = "auto"
    """`auto`: by time where there is a clock, else random by row identity.
    `random` on timed data is warned about by name."""
    purge: AnySpan = Span(0.0, "seconds", "0s")
    """Gap between two parts, for targets that overlap in time."""
    holdout: Fraction | AnySpan = 0.15
    """Share of rows before the evaluation window (or a span) that the gate judges on."""
    evaluation_share: OpenFraction = 0.2
    """Share of rows kept for evaluation where there is no clock (with a clock: `evaluation.validation_window`)."""
    min_rows: Count = 200
    """Fewer training rows than this end INSUFFICIENT."""
    max_rows: Count | None = None
    """Keep only the newest rows (or groups) of training beyond this number."""
    seed: int = 0
    """Seed of random splits and folds."""

    @field_validator("holdout", mode="before")
    @classmethod
    def _holdout_is_a_share_or_a_span(cls, value: Any) -> Any:
        return value if isinstance(value, float) else parse_span(value)


class ContractConfig(Section):
    """The data contract: learned from the training window, tightened or loosened here."""

    enabled: bool = True
    """Check each window against the contract."""
    null_tolerance: Fraction = 0.05
    """How far the share of nulls in a column may rise above the training window's."""
    range_tolerance: float = Field(default=0.5, ge=0.0)
    """How far a numeric value may leave the training range, as a share of that range."""
    outside_tolerance: Fraction = 0.01
    """Share of values that may leave range or categories before the column breaks the contract."""
    gross_tolerance: Fraction = 0.5
    """Leaving limits that were learned warns; beyond this share of the window it rejects.
    Limits written under `columns` always reject."""
    max_infinite: Fraction = 0.0
    """Largest share of infinite values in a numeric feature."""
    min_rows: Count = 1
    """Fewest rows of a window."""
    max_rows: Count | None = None
    """Most rows of a window."""
    unique: list[list[str]] = Field(default_factory=list)
    """Sets of columns that together identify a row."""
    columns: dict[str, ColumnContract] = Field(default_factory=dict)
    """Limits of single columns; what is given replaces what was learned."""


class ColumnContract(Section):
    """Limits of one column; what is left out is learned."""

    required: bool = True
    """The column must be present."""
    max_nulls: Fraction | None = None
    """Largest share of nulls."""
    min: float | None = None
    """Smallest allowed value."""
    max: float | None = None
    """Largest allowed value."""
    categories: list[str] | None = None
    """Allowed categories."""
    ignore: bool = False
    """Do not check this column."""


ContractConfig.model_rebuild()
