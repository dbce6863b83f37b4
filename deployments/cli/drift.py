"""The command that compares two plain files, without any model or store."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.output import clean, note
from tasks.core.errors import InputError

_SHOWN = 40


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(drift)


def drift(
    reference: Annotated[
        str, typer.Argument(metavar="REFERENCE", help="CSV or Parquet file, or folder of them.")
    ],
    current: Annotated[str, typer.Argument(metavar="CURRENT", help="The same, as it is now.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write a page that opens offline.")] = None,
    columns: Annotated[str, typer.Option(help="Columns to compare, by comma (default: all).")] = "",
    exclude: Annotated[str, typer.Option(help="Columns to leave out, by comma.")] = "",
    categorical: Annotated[str, typer.Option(help="Columns of numbers that are names, by comma.")] = "",
    significance: Annotated[float, typer.Option(help="Level of the corrected p-values.")] = 0.05,
    psi: Annotated[float, typer.Option("--psi", help="Least PSI that is called drift.")] = 0.10,
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")] = False,
) -> None:
    """Say how far the columns of one file moved from those of another; exit code 0 whatever moved."""
    if not 0 < significance < 1 or not psi > 0:
        raise InputError(
            f"--significance {significance:g} and --psi {psi:g} cannot be. Allowed: between 0 and 1, and above 0."
        )
    from tasks.drift_files import compare_files, write_files_page

    found = compare_files(
        reference,
        current,
        columns=_names(columns),
        exclude=_names(exclude),
        categorical=_names(categorical),
        significance=significance,
        psi_warning=psi,
    )
    if html is not None:
        write_files_page(html, found)
        note(f"Wrote {html}.")
    result = {**found.drift.to_dict(), "html": None if html is None else str(html)}
    if json:
        print(json_module.dumps(clean(result), allow_nan=False))
        return
    _print(result, [one.to_dict() for one in found.drift.by_move])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _print(result: dict[str, Any], columns: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("column", no_wrap=True, max_width=26)
    table.add_column("", no_wrap=True)
    for name in ("PSI", "shift", "KS", "p corrected", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in columns[:_SHOWN]:
        says = "drift" if one["drifted"] else "quiet" if one["drifted"] is False else "not judged"
        numbers = (_text(one[name]) for name in ("psi", "mean_shift", "ks", "adjusted_p_value"))
        missing = f"{one['missing_after']:.1%}" if one["missing_after"] else ""
        table.add_row(escape(one["column"]), says, *numbers, missing)
    if columns:
        console.print(table, highlight=False)
    if len(columns) > _SHOWN:
        console.print(
            f"… and {len(columns) - _SHOWN} columns that moved less (all of them by --json or --html)."
        )
    for name, why in {**result["changed"], **result["unreadable"], **result["skipped"]}.items():
        console.print(f"not compared: {name}: {why}", markup=False, highlight=False, soft_wrap=True)
    said = " ".join(reason["message"] for reason in result["reasons"])
    console.print(f"{result['state']}: {said}", markup=False, highlight=False, soft_wrap=True)


def _text(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if 0 <= value < 0.001 else f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"
