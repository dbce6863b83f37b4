"""Commands that watch: monitor, calibrate."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.output import clean, print_result
from deployments.cli.session import prepare_prefect, run_flow
from tasks.core.drift.phrases import listed, short_time
from tasks.core.errors import InputError
from tasks.io.setup import open_setup
from tasks.io.store_checks import reach_servers

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name under config/, or path of a YAML file.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
LEVELS = {"quiet": "green", "warning": "yellow", "drift": "red", "insufficient": "dim"}
SHORT = {"quiet": "quiet", "warning": "WARN", "drift": "DRIFT", "insufficient": "few"}
TITLES = {"data": "data", "prediction": "pred", "outcome": "outc", "concept": "conc", "performance": "perf"}
MOST_LINES = 30


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (monitor, calibrate):
        app.command()(command)


def monitor(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Name under config/, or path of a YAML file.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Look again at the windows from here on; nothing is recorded or sent."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="As of this moment of the model's clock (default: now).")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every model that is configured.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look and report, record nothing.")] = False,
    json: Json = False,
) -> None:
    """Look at the champion's next windows: what drifted, and what it did to the metric."""
    if (model is None) == (not every):
        raise InputError("Name one MODEL, or --all for every configured one.")
    if every:
        if since or until or dry_run:
            raise InputError("--from, --to and --dry-run are of one model: name it instead of --all.")
        _fleet(as_json=json)
        return
    setup = open_setup(str(model))
    reach_servers(setup.settings)
    prepare_prefect(setup.settings)
    options = {"since": since, "until": until, "dry_run": dry_run}
    result = run_flow("flows.monitor:monitor", {"model": model, **options})
    if not json:
        _print_windows(result.get("windows") or [])
    print_result({"windows": [], **result}, as_json=json)


def calibrate(model: Model, json: Json = False) -> None:
    """Show the limits of a model's alarms, the null distribution they come from, and the false alarms to expect."""
    from tasks.calibrate import show_calibration

    setup = open_setup(model)
    reach_servers(setup.settings)
    result = show_calibration(setup)
    if json:
        print(json_module.dumps(clean(result), default=str, allow_nan=False))
        return
    console = Console()
    for sentence in result["sentences"]:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    names = {
        "level": "limit",
        "jump": "jump",
        "sustained": "sustained",
        "null_sd": "sd",
        "sampling_sd": "of rows",
    }
    table = Table(box=None, pad_edge=False)
    for title in ("kind", "column", "signal", "expected", *names.values(), "windows", "season", "from"):
        table.add_column(title, no_wrap=True)
    for row in result["limits"]:
        numbers = [_number(row[name]) for name in ("expected", *names)]
        windows = f"{row['windows']} ({_number(row['effective_windows'])})"
        cells = [row["kind"], row["column"], row["signal"], *numbers, windows, row["season"] or "-"]
        table.add_row(*cells, row["calibration"])
    Console(width=140).print(table)


def _fleet(*, as_json: bool) -> None:
    from tasks.io.settings import read_settings

    settings = read_settings()
    reach_servers(settings)
    prepare_prefect(settings)
    result = run_flow("flows.monitor:monitor_fleet", {})
    if not as_json:
        table = Table("model", "state", "why")
        for one in result["models"]:
            table.add_row(one["model"], one["state"], one["reasons"][0]["message"] if one["reasons"] else "")
        Console().print(table)
    print_result(result, as_json=as_json)


def _print_windows(windows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    widths = {"window from": 10, "rows": 4, **dict.fromkeys(TITLES.values(), 5), "metric": 7}
    for name, width in widths.items():
        table.add_column(name, no_wrap=True, min_width=width)
    table.add_column("moved", no_wrap=True, overflow="ellipsis")
    for window in windows[-MOST_LINES:]:
        known = window["performance"]
        metric = "" if not known else f"{_number(known['value'])}{'*' if known.get('estimated') else ''}"
        moved = list(dict.fromkeys(one["column"] for one in window["moved"]))
        levels = [_level(window["verdicts"].get(kind)) for kind in TITLES]
        rows = str(window["n"] if window["n"] is not None else "")
        table.add_row(short_time(window["from"]), rows, *levels, metric, listed(moved) if moved else "")
    console = Console()
    if len(windows) > MOST_LINES:
        console.print(f"The newest {MOST_LINES} of {len(windows)} windows (--json has all):", highlight=False)
    if windows:
        console.print(table)
        console.print("few: too few rows or windows to judge; *: estimated without labels", style="dim")


def _level(level: str | None) -> str:
    return "" if level is None else f"[{LEVELS[level]}]{SHORT[level]}[/]"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"
