"""Learn a contract's limits from the training window; what a person configured replaces what was learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.data import ColumnContract, ContractConfig
from evergreen.tasks.core.contract.contract import ColumnRule, Contract, Kind, as_text, kind_of
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import unknown_name


def learn_contract(frame: pd.DataFrame, *, schema: Schema, config: ModelConfig) -> Contract:
    """Learn what later windows must look like.

    Parameters
    ----------
    frame : DataFrame, shape (n, columns)
        The training window.
    schema : Schema
        Roles and kinds of the columns; features, clock, group and entity get a rule. The target gets none:
        in a window of tomorrow it is not known yet.
    config : ModelConfig
        ``contract`` loosens or tightens; ``training.max_categories`` bounds a closed vocabulary: a column
        with more distinct values has an open one and no category is ever 'unseen'.

    Returns
    -------
    Contract

    Raises
    ------
    UnknownName
        When ``contract.columns`` or ``contract.unique`` names a column the data do not have.

    Notes
    -----
    A column that is constant in the training window teaches no range: a sensor that was switched on later
    is drift, not a broken contract.
    """
    _check_names(config.contract, frame)
    rules = [
        _learn_column(frame[name], kind=kind, config=config)
        for name, kind in _columns(schema, config.contract)
    ]
    return apply_limits(Contract(columns=tuple(rules), learned_rows=len(frame)), config.contract)


def apply_limits(contract: Contract, limits: ContractConfig) -> Contract:
    """Put what is configured in the place of what was learned.

    A version's stored contract is read through this too, so that a limit that proves too narrow can be
    loosened without another training.
    """
    known = {rule.name for rule in contract.columns}
    added = [ColumnRule(name=name) for name in limits.columns if name not in known]
    return replace(
        contract,
        columns=tuple(
            _overrule(rule, limits.columns.get(rule.name))
            for rule in (*contract.columns, *added)
            if not (rule.name in limits.columns and limits.columns[rule.name].ignore)
        ),
        unique=tuple(tuple(columns) for columns in limits.unique),
        min_rows=limits.min_rows,
        max_rows=limits.max_rows,
        outside_tolerance=limits.outside_tolerance,
        gross_tolerance=limits.gross_tolerance,
    )


def _columns(schema: Schema, limits: ContractConfig) -> Iterator[tuple[str, str]]:
    """Yield each column once with its role: number, text or any; configured ones too."""
    seen: set[str] = {schema.target}
    roles = [
        *((name, "number") for name in schema.numeric),
        *((name, "text") for name in schema.categorical),
        *((name, "any") for name in (schema.time, schema.group, schema.entity) if name),
        *((name, "auto") for name in limits.columns),
    ]
    for name, role in roles:
        if name not in seen:
            seen.add(name)
            yield name, role


def _learn_column(values: pd.Series, *, kind: str, config: ModelConfig) -> ColumnRule:
    """Learn one column's limits; of a private one no range and no categories, for those are its values."""
    limits = config.contract
    name = str(values.name)
    found = kind_of(values)
    if kind == "any":
        return ColumnRule(name=name)
    nulls = float(values.isna().mean()) if len(values) else 1.0
    max_nulls = min(1.0, nulls + limits.null_tolerance) if nulls < 1.0 else 1.0
    private = name in config.data.private
    if found == "number" and kind != "text":
        low, high = (None, None) if private else learn_range(values, tolerance=limits.range_tolerance)
        return ColumnRule(name=name, kind="number", max_nulls=max_nulls, minimum=low, maximum=high)
    if kind == "text" or found == "text":
        categories = None if private else _learn_categories(values, most=config.training.max_categories)
        expected: Kind = "text" if found == "text" else "any"
        return ColumnRule(name=name, kind=expected, max_nulls=max_nulls, categories=categories)
    return ColumnRule(name=name, kind=found, max_nulls=max_nulls)


def learn_range(values: pd.Series, *, tolerance: float) -> tuple[float | None, float | None]:
    """Return the range of the finite values, widened on both sides by ``tolerance`` times its width.

    ``(None, None)`` where fewer than two different finite values teach nothing.

    Examples
    --------
    >>> learn_range(pd.Series([0.0, 10.0, None]), tolerance=0.5)
    (-5.0, 15.0)
    >>> learn_range(pd.Series([3.0, 3.0]), tolerance=0.5)
    (None, None)
    """
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    finite = numbers[np.isfinite(numbers)]
    if len(finite) == 0 or finite.min() == finite.max():
        return None, None
    low, high = float(finite.min()), float(finite.max())
    slack = tolerance * (high - low)
    return low - slack, high + slack


def _learn_categories(values: pd.Series, *, most: int) -> tuple[str, ...] | None:
    found = sorted(set(as_text(values).dropna()))
    return tuple(found) if 0 < len(found) <= most else None


def _overrule(rule: ColumnRule, given: ColumnContract | None) -> ColumnRule:
    """Put what a person wrote in the place of what was learned, and remember which."""
    if given is None:
        return rule
    written = {
        "nulls": given.max_nulls is not None,
        "minimum": given.min is not None,
        "maximum": given.max is not None,
        "categories": given.categories is not None,
    }
    bounded = written["minimum"] or written["maximum"]
    return ColumnRule(
        name=rule.name,
        kind="number" if bounded else rule.kind,
        required=given.required,
        max_nulls=rule.max_nulls if given.max_nulls is None else given.max_nulls,
        minimum=rule.minimum if given.min is None else given.min,
        maximum=rule.maximum if given.max is None else given.max,
        categories=rule.categories if given.categories is None else tuple(given.categories),
        by_hand=tuple(what for what, is_written in written.items() if is_written),
    )


def _check_names(limits: ContractConfig, frame: pd.DataFrame) -> None:
    """Refuse a rule for a column the data do not have: a typo would silently check nothing."""
    known = [str(name) for name in frame.columns]
    for name in limits.columns:
        if name not in known:
            raise unknown_name("column", name, known, where="contract.columns")
    for name in (name for columns in limits.unique for name in columns):
        if name not in known:
            raise unknown_name("column", name, known, where="contract.unique")
