"""The roles and kinds of a model's columns, read from its training rows, and whether those can be trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.columns import ROLE_KEYS, column_kind, require_columns, role_columns
from evergreen.tasks.core.errors import ConfigError, DataError, NotLearnable
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Reason


@dataclass(frozen=True, kw_only=True)
class Schema(Struct):
    """Roles and kinds of columns; stored with a version.

    Attributes
    ----------
    target : column to predict.
    numeric, categorical : features by kind.
    time, group, entity, label_time, value, weight : columns with these roles; None: no such column.
    dropped : columns that are neither, each with the reason.
    """

    target: str
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    time: str | None = None
    group: str | None = None
    entity: str | None = None
    label_time: str | None = None
    value: str | None = None
    weight: str | None = None
    dropped: Mapping[str, str] = field(default_factory=dict)

    @property
    def features(self) -> tuple[str, ...]:
        """Numeric features, then categorical ones."""
        return (*self.numeric, *self.categorical)

    @property
    def notes(self) -> tuple[Reason, ...]:
        """One reason for each column that is not used."""
        return tuple(
            Reason(code="column_not_used", message=f"Column '{name}' is not a feature: {why}.", observed=name)
            for name, why in self.dropped.items()
        )

    def with_roles_of(self, config: ModelConfig) -> Schema:
        """Return the same features with the roles a configuration gives now: an older version is evaluated by them."""
        return replace(self, **{role: getattr(config.data, key) for role, key in ROLE_KEYS.items()})


def infer_schema(frame: pd.DataFrame, config: ModelConfig) -> Schema:
    """Return the schema of a frame, usually the training rows.

    Columns with a role are no features unless they are listed as such (``value`` may be both); what the
    configuration lists is taken as it says; other columns by their kind (``evergreen.tasks.core.data.columns``).

    Raises
    ------
    DataError
        When a named column is missing, a listed numeric feature is not numeric, or a column mixes types.
    """
    require_columns([str(name) for name in frame.columns], config, origin="the data")
    data = config.data
    roles = role_columns(config)
    kinds = {"numeric": list(data.numeric or ()), "categorical": list(data.categorical or ())}
    dropped = dict(data.exclude)
    for name in kinds["numeric"]:
        _require_numeric(frame[name])
    for name in unnamed_columns(frame, config):
        kind = column_kind(frame[name], max_categories=config.training.max_categories)
        if kind.reason:
            dropped[name] = kind.reason
        elif getattr(data, kind.kind.value) is None:
            kinds[kind.kind.value].append(name)
        else:
            dropped[name] = f"not listed in data.{kind.kind.value}"
    empty = [name for name in (*kinds["numeric"], *kinds["categorical"]) if frame[name].isna().all()]
    dropped |= dict.fromkeys(empty if len(frame) else [], "every value is null")
    return Schema(
        **roles,
        numeric=tuple(name for name in kinds["numeric"] if name not in dropped),
        categorical=tuple(name for name in kinds["categorical"] if name not in dropped),
        dropped=dropped,
    )


def unnamed_columns(frame: pd.DataFrame, config: ModelConfig) -> list[str]:
    """Return the columns that the configuration gives no role, no kind and no reason to leave out."""
    data = config.data
    named = {*role_columns(config).values(), *(data.numeric or ()), *(data.categorical or ()), *data.exclude}
    return [name for name in frame.columns if name not in named]


def check_learnable(frame: pd.DataFrame, schema: Schema, config: ModelConfig) -> None:
    """Check that training rows can be trained on.

    Raises
    ------
    NotLearnable
        ``too_few_rows``, ``no_usable_feature``, ``no_labels``, ``one_class``, ``too_many_classes``,
        ``too_few_of_a_class``, ``constant_target``, ``infinite_target`` or ``no_ranking_groups``.
    DataError
        When the target of a regression or ranking is not numeric.
    ConfigError
        When ``data.positive_class`` is no label.
    """
    labelled = frame[frame[schema.target].notna()]
    target, fewest = labelled[schema.target], config.split.min_rows
    if len(labelled) < fewest:
        message = f"{len(labelled)} training rows are fewer than split.min_rows {fewest}"
        remedy = "Add rows, shorten the holdout or evaluation window, or lower split.min_rows."
        raise _not_learnable("too_few_rows", message, len(labelled), fewest, len(labelled), remedy=remedy)
    _require_feature(labelled, schema)
    if config.problem in ("binary", "multiclass"):
        _check_classes(target, config)
    else:
        _check_numbers(target, config)
    if schema.group is not None:
        _check_groups(labelled, schema)


def _require_numeric(column: pd.Series) -> None:
    if pd.api.types.is_numeric_dtype(column.dtype) or column.isna().all():
        return
    wrong = pd.to_numeric(column, errors="coerce").isna() & column.notna()
    at = int(np.argmax(wrong.to_numpy()))
    raise DataError(
        f"Column '{column.name}' is listed in data.numeric but holds '{column.iloc[at]}' in row {at + 1}, which is not "
        "a number. Correct the value or list the column in data.categorical."
    )


def _require_feature(frame: pd.DataFrame, schema: Schema) -> None:
    varying = [name for name in schema.features if frame[name].nunique(dropna=False) > 1]
    if varying:
        return
    why = "; ".join(f"'{name}': {reason}" for name, reason in list(schema.dropped.items())[:5])
    constant = f" Features with one value only: {len(schema.features)}." if schema.features else ""
    unused = f" Not used: {why}." if why else ""
    message = f"No column can be learned from.{constant}{unused} Add a feature that varies."
    raise NotLearnable("no_usable_feature", message, observed=0.0, limit=1.0, n=len(frame))


def _check_classes(target: pd.Series, config: ModelConfig) -> None:
    counts = target.value_counts()
    labels = ", ".join(repr(label) for label in counts.index[:5])
    name, folds = f"'{target.name}'", config.training.folds
    if len(counts) < 2:
        message = f"The target {name} holds one class only ({labels})"
        raise _not_learnable("one_class", message, len(counts), 2, len(target))
    if config.problem == "multiclass":
        return
    if len(counts) > 2:
        message = f"The target {name} holds {len(counts)} classes ({labels}, …) but problem is binary"
        remedy = "Write problem: multiclass."
        raise _not_learnable("too_many_classes", message, len(counts), 2, len(target), remedy=remedy)
    positive = config.data.positive_class
    if positive is not None and positive not in set(counts.index):
        raise ConfigError(f"data.positive_class {positive!r} is not a label of {name}. Labels: {labels}.")
    if counts.min() < folds:
        message = f"Class {counts.idxmin()!r} of {name} has {counts.min()} training rows for {folds} folds"
        raise _not_learnable("too_few_of_a_class", message, int(counts.min()), folds, len(target))


def _check_numbers(target: pd.Series, config: ModelConfig) -> None:
    if not pd.api.types.is_numeric_dtype(target.dtype) or pd.api.types.is_bool_dtype(target.dtype):
        wrong = pd.to_numeric(target, errors="coerce").isna()
        value = target[wrong].iloc[0] if wrong.any() else target.iloc[0]
        raise DataError(
            f"The target '{target.name}' holds '{value}', but problem {config.problem.value} needs numbers. "
            "Correct the data, or write problem: binary or multiclass."
        )
    values = target.to_numpy(dtype=np.float64)
    infinite = int(np.isinf(values).sum())
    if infinite:
        message = f"The target '{target.name}' is infinite in {infinite} rows"
        raise _not_learnable("infinite_target", message, infinite, 0, len(values), remedy="Correct them.")
    if np.ptp(values) == 0:
        message = f"The target '{target.name}' is {values[0]:g} in every row"
        raise _not_learnable("constant_target", message, 1, 2, len(values))


def _check_groups(frame: pd.DataFrame, schema: Schema) -> None:
    spread = frame.groupby(schema.group, sort=False, observed=True)[schema.target].nunique()
    if not (spread > 1).any():
        message = f"No group of '{schema.group}' holds two rows of different '{schema.target}', so none can be ordered"
        raise _not_learnable("no_ranking_groups", message, 0, 1, len(frame))


def _not_learnable(
    code: str, what: str, observed: int, limit: int, n: int, *, remedy: str = "Add rows that differ."
) -> NotLearnable:
    numbers = {"observed": float(observed), "limit": float(limit)}
    return NotLearnable(code, f"{what}. {remedy}", **numbers, n=n)
