"""Evidently's HTML page on two bounded samples; it decides nothing, and its failure stops nothing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evergreen.tasks.core.reports.monitoring import ComparableColumns, compare_columns, sample_frame
from evergreen.tasks.core.verdict import Reason
from evergreen.tasks.io.mlflow_store.documents import read_optional

if TYPE_CHECKING:
    import pandas as pd

    from evergreen.tasks.io.setup import Setup


@dataclass(frozen=True, kw_only=True)
class EvidentlyPage:
    """The page, or why there is none."""

    html: str | None = None
    """The whole page, about 4 MB, which asks no server."""
    reasons: tuple[Reason, ...] = ()
    """``columns_left_out``, and where there is no page why: ``switched_off``, ``no_reference_sample``, ``no_rows``,
    ``no_common_column`` or ``evidently_failed``."""


def read_sample(setup: Setup, version: int) -> dict[str, Any] | None:
    """Return the sample frozen with a version; None when it has none."""
    return read_optional(setup, setup.stores.registry.version(setup.model, version), "sample")


def draw_evidently_page(
    reference: Mapping[str, Any] | None, current: Mapping[str, Any], *, private: frozenset[str] = frozenset()
) -> EvidentlyPage:
    """Draw Evidently's drift preset on two samples in their JSON form (``reports.monitoring.draw_sample``).

    Parameters
    ----------
    reference, current : mapping
        Rows that the champion was trained on (None: no sample was stored with it), and the window's.
    private : frozenset of str
        Columns that are left out though a sample has them.
    """
    if reference is None:
        return _no_page(
            "no_reference_sample",
            "The champion has no sample of its training rows; versions trained from now on have one.",
        )
    compared = compare_columns(reference, current, private=private)
    before, now = sample_frame(reference), sample_frame(current)
    if not len(before) or not len(now):
        return _no_page("no_rows", f"Samples of {len(before)} and {len(now)} rows cannot be compared.")
    left_out: list[Reason] = []
    if compared.left_out:
        columns = "; ".join(f"{name}: {why}" for name, why in compared.left_out.items())
        left_out = [Reason(code="columns_left_out", message=f"Not on Evidently's page: {columns}.")]
    if not compared.numeric and not compared.categorical:
        message = "No column has values on both sides, so that there is nothing to compare."
        return _no_page("no_common_column", message, *left_out)
    try:
        return EvidentlyPage(html=_draw(before, now, compared), reasons=tuple(left_out))
    except Exception as error:  # a page of another library must not end a run; the reason is in the result
        message = f"Evidently drew no page: {type(error).__name__}: {error}"
        return _no_page("evidently_failed", message[:500], *left_out)


def _draw(reference: pd.DataFrame, current: pd.DataFrame, compared: ComparableColumns) -> str:
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        columns = [*compared.numeric, *compared.categorical]
        definition = DataDefinition(
            numerical_columns=list(compared.numeric), categorical_columns=list(compared.categorical)
        )
        sides = [
            Dataset.from_pandas(side[columns], data_definition=definition) for side in (current, reference)
        ]
        return str(Report([DataDriftPreset()]).run(*sides).get_html_str(as_iframe=False))


def _no_page(code: str, message: str, *more: Reason) -> EvidentlyPage:
    return EvidentlyPage(reasons=(Reason(code=code, message=message), *more))
