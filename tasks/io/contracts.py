"""Check a window against its contract with Great Expectations; the import costs seconds and is lazy."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from evergreen.tasks.core.contract.check import ContractResult, Finding, judge_contract
from evergreen.tasks.core.contract.contract import Contract, Expectation, as_text, kind_of, plan_expectations

MOST_ROWS = 100_000
_EXAMPLES = 5
_NUMBERS = [
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "float32", "float64", "int", "float", "bool", "Decimal"),
]
_TIMES = [
    *(f"datetime64[{unit}]" for unit in ("s", "ms", "us", "ns")),
    "datetime",
    "date",
    "Timestamp",
    "NaTType",
]


def check_contract(
    contract: Contract,
    frame: pd.DataFrame,
    *,
    window: str,
    private: Sequence[str] = (),
    most_rows: int = MOST_ROWS,
) -> ContractResult:
    """Check one window of rows.

    Parameters
    ----------
    contract : Contract
        Limits, as stored with the version.
    frame : DataFrame, shape (n, columns)
        The window; not changed.
    window : str
        Its name, for messages.
    private : sequence of str
        Columns of which no value may be shown, not even as an example of what is wrong.
    most_rows : int
        Values are checked on at most this many rows, taken at equal steps over the window; the number of
        rows, missing columns and repeated keys are judged on all of them.

    Returns
    -------
    ContractResult
    """
    named = {rule.name for rule in contract.columns} | {name for key in contract.unique for name in key}
    kinds = {name: kind_of(frame[name]) for name in named if name in frame.columns}
    plan = plan_expectations(contract, kinds)
    whole = [expected for expected in plan if expected.check in {"rows", "unique", "exists"}]
    values = [expected for expected in plan if expected not in whole]
    sample = frame.iloc[:: -(-len(frame) // most_rows)] if len(frame) > most_rows else frame
    findings = [
        *_validate(_prepare(frame, whole), whole),
        *(_validate(_prepare(sample, values), values) if len(sample) else []),
    ]
    shown = [
        one if set(private).isdisjoint(one.expectation.columns) else replace(one, examples=())
        for one in findings
    ]
    return judge_contract(contract, shown, window=window, n=len(frame), checked=len(sample))


def _prepare(frame: pd.DataFrame, plan: list[Expectation]) -> pd.DataFrame:
    """Return the columns the plan names: categories as text, as their limits are written; keys as found."""
    text = {name for expected in plan if expected.check == "categories" for name in expected.columns}
    keys = {name for expected in plan if expected.check == "unique" for name in expected.columns}
    columns: dict[str, pd.Series] = {}
    for name in {name for expected in plan for name in expected.columns if name in frame.columns}:
        columns[name] = as_text(frame[name]) if name in text else frame[name]
        if name not in text | keys:
            columns[name] = _plain(frame[name])
    return pd.DataFrame(columns, index=frame.index)


def _plain(values: pd.Series) -> pd.Series:
    """Return pandas' own numbers and zoned times as NumPy's: Great Expectations knows only those by name."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return pd.Series(values.dt.tz_convert("UTC").dt.tz_localize(None))
    if pd.api.types.is_extension_array_dtype(values.dtype) and pd.api.types.is_numeric_dtype(values.dtype):
        return pd.Series(values.to_numpy(dtype=float, na_value=np.nan), index=values.index)
    return values


def _validate(frame: pd.DataFrame, plan: list[Expectation]) -> list[Finding]:
    """Run one Great Expectations suite over one frame; findings come in the order of the plan."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    suite = gx.ExpectationSuite(name="contract")
    for number, expected in enumerate(plan):
        suite.add_expectation(_build(expected, meta={"number": number}))
    asset = context.data_sources.add_pandas("window").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": frame})
    return list(_read(batch.validate(suite, result_format="SUMMARY").results, plan, n=len(frame)))


def _build(expected: Expectation, *, meta: dict[str, Any]) -> Any:
    import great_expectations.expectations as catalogue

    column = {"column": expected.columns[0]} if expected.columns else {}
    share = {**column, "mostly": 1.0 - expected.limit}
    limits = {"min_value": expected.minimum, "max_value": expected.maximum}
    rows = {name: None if limit is None else int(limit) for name, limit in limits.items()}
    types = _NUMBERS if expected.kind == "number" else _TIMES
    allowed = list(expected.categories or ())
    unique: tuple[str, dict[str, Any]] = ("ExpectColumnValuesToBeUnique", column)
    if len(expected.columns) > 1:
        unique = ("ExpectCompoundColumnsToBeUnique", {"column_list": list(expected.columns)})
    expectations: dict[str, tuple[str, dict[str, Any]]] = {
        "exists": ("ExpectColumnToExist", column),
        "nulls": ("ExpectColumnValuesToNotBeNull", share),
        "kind": ("ExpectColumnValuesToBeInTypeList", {**column, "type_list": types}),
        "range": ("ExpectColumnValuesToBeBetween", {**share, **limits}),
        "categories": ("ExpectColumnValuesToBeInSet", {**share, "value_set": allowed}),
        "rows": ("ExpectTableRowCountToBeBetween", rows),
        "unique": unique,
    }
    name, options = expectations[expected.check]
    return getattr(catalogue, name)(**options, meta=meta)


def _read(results: Iterable[Any], plan: list[Expectation], *, n: int) -> Iterable[Finding]:
    """Turn Great Expectations' results into findings, in the order of the plan."""
    by_number = {result.expectation_config.meta["number"]: result for result in results}
    for number, expected in enumerate(plan):
        result = by_number[number]
        _refuse_exceptions(result, expected)
        measured = result.result or {}
        percent = measured.get("unexpected_percent")
        # checks without a share of offending values count as all or nothing
        share = 0.0 if result.success else 1.0
        if percent is not None and expected.check not in {"exists", "rows"}:
            share = float(percent) / 100.0
        values = measured.get("partial_unexpected_list") or ()
        shown = [_short(value) for value in values if value is not None]
        yield Finding(
            expectation=expected,
            share=share,
            n=int(measured.get("element_count", n)),
            examples=tuple(dict.fromkeys(shown))[:_EXAMPLES],
            observed=n if expected.check == "rows" else None,
        )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(_short(part) for part in value.values()) + ")"
    text = f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _refuse_exceptions(result: Any, expected: Expectation) -> None:
    """Raise where a check itself broke: not being able to check is not a finding."""
    info = result.exception_info or {}
    for one in [info] if "raised_exception" in info else info.values():
        if isinstance(one, dict) and one.get("raised_exception"):
            raise RuntimeError(
                f"Great Expectations could not check '{expected.check}' of {expected.columns}: "
                f"{one.get('exception_message')}"
            )
