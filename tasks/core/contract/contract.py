"""The data contract: limits that rows must keep, learned from the training window, tightened or loosened by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api import types

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.data import ColumnContract, ContractConfig
from evergreen.tasks.core.data.schema import Schema
from evergreen.tasks.core.errors import unknown_name
from evergreen.tasks.core.serial import Struct

Kind = Literal["number", "text", "time", "any"]


@dataclass(frozen=True, kw_only=True)
class ColumnRule(Struct):
    """Limits of one column."""

    name: str
    """Column."""
    kind: Kind = "any"
    """What the values must be; ``any`` is not checked."""
    required: bool = True
    """The column must be present."""
    max_nulls: float = 1.0
    """Largest share of nulls, 0 to 1."""
    minimum: float | None = None
    maximum: float | None = None
    """``minimum``, ``maximum``: bounds of the values, both inclusive, in the column's own unit; None: unbounded."""
    categories: tuple[str, ...] | None = None
    """Allowed values as text; None: an open vocabulary."""
    by_hand: tuple[str, ...] = ()
    """Which of ``nulls``, ``minimum``, ``maximum``, ``categories`` a person wrote: breaking those rejects, breaking
    what was only learned warns until most of the window is outside."""


@dataclass(frozen=True, kw_only=True)
class Contract(Struct):
    """What every window of a version's rows is checked against."""

    columns: tuple[ColumnRule, ...]
    """One rule a column."""
    unique: tuple[tuple[str, ...], ...] = ()
    """Sets of columns that together identify a row."""
    min_rows: int = 1
    max_rows: int | None = None
    """``min_rows``, ``max_rows``: bounds of the number of rows, inclusive; None: unbounded."""
    outside_tolerance: float = 0.01
    """Share of values that may leave range or categories without a remark."""
    gross_tolerance: float = 0.5
    """Share outside *learned* limits from which the window is another quantity and the check fails."""
    learned_rows: int = 0
    """Rows the limits were learned from."""


def kind_of(values: pd.Series) -> Kind:
    """Return what a column holds; ``any`` for one of nulls alone.

    Numbers may be stored as objects (decimals of a database), categories by what they are made of.

    Examples
    --------
    >>> kind_of(pd.Series([1, None])), kind_of(pd.Series(["a"])), kind_of(pd.Series([None]))
    ('number', 'text', 'any')
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.cat.categories.to_series()
    if types.is_datetime64_any_dtype(values.dtype):
        return "time"
    if types.is_numeric_dtype(values.dtype):
        return "any" if len(values) and bool(values.isna().all()) else "number"
    numbers = dict.fromkeys(("integer", "floating", "decimal", "mixed-integer-float", "boolean"), "number")
    times = dict.fromkeys(("datetime", "datetime64", "date"), "time")
    kinds: dict[str, Any] = {"empty": "any"} | numbers | times
    kind: Kind = kinds.get(types.infer_dtype(values, skipna=True), "text")
    return kind


def as_text(values: pd.Series) -> pd.Series:
    """Return categories as text, nulls stay; whole floats lose their ``.0``, so a null changes no name.

    Examples
    --------
    >>> as_text(pd.Series([1.0, None, 2.0])).tolist()
    ['1', None, '2']
    """
    texts = [None if null else _text(value) for value, null in zip(values, values.isna(), strict=True)]
    return pd.Series(texts, index=values.index, dtype=object)


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


# Limits learned from the training window; what a person configured replaces what was learned.


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
    limits, names = config.contract, [str(name) for name in frame.columns]
    named = [("contract.columns", name) for name in limits.columns]
    named += [("contract.unique", name) for columns in limits.unique for name in columns]
    for key, name in named:
        if name not in names:  # a typo would silently check nothing
            raise unknown_name("column", name, names, where=key)
    rules = [_learn_column(frame[name], role=role, config=config) for name, role in _columns(schema, limits)]
    return apply_limits(Contract(columns=tuple(rules), learned_rows=len(frame)), limits)


def apply_limits(contract: Contract, limits: ContractConfig) -> Contract:
    """Put what is configured in the place of what was learned.

    A version's stored contract is read through this too, so that a limit that proves too narrow can be
    loosened without another training.
    """
    rules = {rule.name: rule for rule in contract.columns}
    for name, written in limits.columns.items():
        rules[name] = _overrule(rules.get(name, ColumnRule(name=name)), written)
    ignored = {name for name, written in limits.columns.items() if written.ignore}
    checked = [rule for name, rule in rules.items() if name not in ignored]
    return replace(
        contract,
        columns=tuple(checked),
        unique=tuple(tuple(columns) for columns in limits.unique),
        min_rows=limits.min_rows,
        max_rows=limits.max_rows,
        outside_tolerance=limits.outside_tolerance,
        gross_tolerance=limits.gross_tolerance,
    )


def _columns(schema: Schema, limits: ContractConfig) -> Iterator[tuple[str, str]]:
    """Yield each column once with its role: number, text, any, or auto for one that is only configured."""
    done: set[str] = {schema.target}
    roles = [
        *((name, "number") for name in schema.numeric),
        *((name, "text") for name in schema.categorical),
        *((name, "any") for name in (schema.time, schema.group, schema.entity) if name),
        *((name, "auto") for name in limits.columns),
    ]
    for name, role in roles:
        if name not in done:
            done.add(name)
            yield name, role


def _learn_column(values: pd.Series, *, role: str, config: ModelConfig) -> ColumnRule:
    """Learn one column's limits; of a private one no range and no categories, for those are its values."""
    limits, name, kind = config.contract, str(values.name), kind_of(values)
    if role == "any":
        return ColumnRule(name=name)
    nulls = float(values.isna().mean()) if len(values) else 1.0
    rule = ColumnRule(name=name, kind=kind, max_nulls=min(1.0, nulls + limits.null_tolerance))
    private = name in config.data.private
    if kind == "number" and role != "text":
        low, high = (None, None) if private else learn_range(values, tolerance=limits.range_tolerance)
        return replace(rule, minimum=low, maximum=high)
    if role != "text" and kind != "text":
        return rule
    categories = sorted(set(as_text(values).dropna()))
    closed = not private and 0 < len(categories) <= config.training.max_categories
    expected: Kind = "text" if kind == "text" else "any"
    return replace(rule, kind=expected, categories=tuple(categories) if closed else None)


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


def _overrule(rule: ColumnRule, given: ColumnContract) -> ColumnRule:
    """Put what a person wrote in the place of what was learned, and name it in ``by_hand``."""
    limits = {
        "max_nulls": given.max_nulls,
        "minimum": given.min,
        "maximum": given.max,
        "categories": None if given.categories is None else tuple(given.categories),
    }
    written: dict[str, Any] = {name: limit for name, limit in limits.items() if limit is not None}
    kind: Kind = "number" if {"minimum", "maximum"} & set(written) else rule.kind
    by_hand = tuple(name.removeprefix("max_") for name in written)
    return replace(rule, kind=kind, required=given.required, by_hand=by_hand, **written)


# What a contract requires of a window, as a list of expectations.


Check = Literal["exists", "kind", "nulls", "range", "categories", "rows", "unique"]


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """One thing a window must satisfy; described here, checked by ``evergreen.tasks.io.contracts``.

    ``limit`` is the largest share (0 to 1) of offending values; ``hard`` says that any breach rejects.
    """

    check: Check
    columns: tuple[str, ...] = ()
    kind: Kind = "any"
    limit: float = 0.0
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    hard: bool = False


def plan_expectations(contract: Contract, kinds: Mapping[str, Kind]) -> list[Expectation]:
    """Return what to check on a window whose columns hold ``kinds`` (present columns only).

    Values are checked only in columns that are present and of the right kind: the range of a text is not
    a second finding.
    """
    most = None if contract.max_rows is None else float(contract.max_rows)
    plan = [Expectation(check="rows", minimum=float(contract.min_rows), maximum=most, hard=True)]
    for rule in contract.columns:
        plan.append(Expectation(check="exists", columns=(rule.name,), hard=rule.required))
        if rule.name in kinds:
            plan += _expect_values(rule, kinds[rule.name], outside=contract.outside_tolerance)
    present = [columns for columns in contract.unique if set(columns) <= set(kinds)]
    return plan + [Expectation(check="unique", columns=columns, hard=True) for columns in present]


def _expect_values(rule: ColumnRule, kind: Kind, *, outside: float) -> list[Expectation]:
    """Return the checks of one column's values, of which the window holds ``kind``.

    Learned and written bounds are separate checks: only written ones reject at once.
    """
    columns = (rule.name,)
    plan = [Expectation(check="nulls", columns=columns, limit=rule.max_nulls, hard="nulls" in rule.by_hand)]
    if rule.kind in {"number", "time"}:
        plan.append(Expectation(check="kind", columns=columns, kind=rule.kind, hard=True))
    values: dict[str, Any] = {"columns": columns, "limit": outside}
    if rule.kind == "number" and kind == "number":
        for hard in (True, False):
            bounds = {n: getattr(rule, n) for n in ("minimum", "maximum") if (n in rule.by_hand) is hard}
            if any(bound is not None for bound in bounds.values()):
                plan.append(Expectation(check="range", hard=hard, **bounds, **values))
    if rule.categories is not None and kind != "any":
        hard = "categories" in rule.by_hand
        plan.append(Expectation(check="categories", categories=rule.categories, hard=hard, **values))
    return plan
