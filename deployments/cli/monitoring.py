"""Commands about drift and alarms: monitor, drift-limits, alert, drift."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from evergreen.deployments.cli.options import Json, Model, OptionalModel, split_names
from evergreen.deployments.cli.output import (
    alarm_lines,
    console_of_stdout,
    find_prefect,
    note,
    open_model,
    prepare_prefect,
    print_result,
    run_flow,
    run_stage,
    show,
)
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.verdict import Reason

if TYPE_CHECKING:
    from evergreen.tasks.io.setup import Setup

LEVELS = {
    "quiet": "[green]quiet[/]",
    "warning": "[yellow]WARN[/]",
    "drift": "[red]DRIFT[/]",
    "insufficient": "[dim]few[/]",
    None: "",
}
"""How the levels of a window look in the table; None: not judged."""
TITLES = {"data": "data", "prediction": "pred", "outcome": "outc", "concept": "conc", "performance": "perf"}
MOST_LINES = 30


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (monitor, alert, drift):
        app.command()(command)
    app.command("drift-limits")(drift_limits)


def monitor(
    model: OptionalModel = None,
    since: Annotated[
        str | None,
        Option("--from", help="Check the windows from this time on again; nothing is recorded or sent."),
    ] = None,
    until: Annotated[
        str | None, Option("--to", help="Act as at this time of the clock (default: now).")
    ] = None,
    every: Annotated[bool, Option("--all", help="Check every configured model.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Check and report, but record nothing.")] = False,
    json: Json = False,
) -> None:
    """Check new windows for drift and a worse metric."""
    if (model is None) == (not every):
        raise InputError("Name one MODEL, or --all for every configured one.")
    if every:
        if since or until or dry_run:
            raise InputError("--from, --to and --dry-run are of one model: name it instead of --all.")
        _monitor_all(as_json=json)
        return
    setup = open_model(str(model))
    options: dict[str, Any] = {"since": since, "until": until, "dry_run": dry_run}
    result = _answer_without_run(setup, options) if find_prefect(setup.settings) else None
    if result is None:
        result = run_stage("monitor", str(model), setup=setup, **options)
    if not json:
        _print_windows(result.get("windows") or [])
    print_result({"windows": [], **result}, as_json=json)


def _answer_without_run(setup: Setup, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the result where no window is due, which needs no Prefect run; None where a run has something to do."""
    from evergreen.tasks.monitoring_report import answer_without_run

    result = answer_without_run(setup, **options)
    return None if result is None else result.to_dict()


def _monitor_all(*, as_json: bool) -> None:
    from evergreen.tasks.io.databases import reach_servers
    from evergreen.tasks.io.settings import read_settings

    settings = read_settings()
    reach_servers(settings)
    prepare_prefect(settings)
    result = run_flow("evergreen.flows.monitor:monitor_fleet", {})
    if not as_json:
        from rich.table import Table

        table = Table("model", "state", "why")
        for one in result["models"]:
            table.add_row(one["model"], one["state"], one["reasons"][0]["message"] if one["reasons"] else "")
        console_of_stdout().print(table)
    print_result(result, as_json=as_json)


def _print_windows(windows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from evergreen.tasks.core.drift.types import listed, short_time

    table = Table(box=None, pad_edge=False)
    widths = {"window from": 10, "rows": 4, **dict.fromkeys(TITLES.values(), 5), "metric": 7}
    for name, width in widths.items():
        table.add_column(name, no_wrap=True, min_width=width)
    table.add_column("moved", no_wrap=True, overflow="ellipsis")
    for window in windows[-MOST_LINES:]:
        metric = ""
        if measured := window["performance"]:
            metric = f"{_number(measured['value'])}{'*' if measured.get('estimated') else ''}"
        moved = list(dict.fromkeys(one["column"] for one in window["moved"]))
        levels = [LEVELS[window["verdicts"].get(kind)] for kind in TITLES]
        rows = str(window["n"] if window["n"] is not None else "")
        table.add_row(short_time(window["from"]), rows, *levels, metric, listed(moved) if moved else "")
    console = console_of_stdout()
    if len(windows) > MOST_LINES:
        console.print(f"The newest {MOST_LINES} of {len(windows)} windows (--json has all):", highlight=False)
    if windows:
        console.print(table)
        console.print("few: too few rows or windows to judge; *: estimated without labels", style="dim")


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}"


def drift_limits(model: Model, json: Json = False) -> None:
    """Show the limits of alarms and the false alarms to expect."""
    from evergreen.tasks.monitoring import show_drift_limits

    show(show_drift_limits(open_model(model, reads_only=True)), _print_limits, as_json=json)


def _print_limits(result: dict[str, Any]) -> None:
    from rich.table import Table

    for sentence in result["sentences"]:
        print(sentence)
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
    console_of_stdout(width=140).print(table)


def alert(
    model: Model,
    test: Annotated[bool, Option("--test", help="Send a test message to all of alerts.notify.")] = False,
    deliver: Annotated[bool, Option("--deliver", help="Send the messages that are still unsent.")] = False,
    json: Json = False,
) -> None:
    """Show open alarms, test the channels, or send what is unsent."""
    if test and deliver:
        raise InputError("--test and --deliver exclude each other; give one of them.")
    from evergreen.tasks.io.setup import open_setup

    setup = open_setup(model) if test or deliver else open_model(model, reads_only=True)
    if (test or deliver) and any(not name.startswith("env:") for name in setup.config.alerts.notify):
        prepare_prefect(setup.settings)  # where the blocks are
    result = _send_test(setup) if test else _deliver_pending(setup) if deliver else _open_alarms(setup)
    show(result, _print_alarms, as_json=json)
    raise typer.Exit(1 if result["state"] == "Failed" else 0)


def _send_test(setup: Setup) -> dict[str, Any]:
    from evergreen.tasks.alerts import send_test

    answers = send_test(setup)
    failed = {answer["channel"]: answer["message"] for answer in answers if not answer["arrived"]}
    reasons = [
        Reason(code="alert_not_delivered", message=f"{channel}: {message}", observed=channel).to_dict()
        for channel, message in failed.items()
    ]
    state = "Failed" if failed else "Delivered"
    return {"state": state, "model": setup.model, "reasons": reasons, "channels": answers}


def _deliver_pending(setup: Setup) -> dict[str, Any]:
    # where no server runs, the next run that has one sends the events of automations
    automations = find_prefect(setup.settings)
    from evergreen.tasks.alerts import deliver_alerts

    reasons = [reason.to_dict() for reason in deliver_alerts.fn(setup, automations=automations)]
    failed = any(reason["code"] == "alert_not_delivered" for reason in reasons)
    return {"state": "Failed" if failed else "Delivered", "model": setup.model, "reasons": reasons}


def _open_alarms(setup: Setup) -> dict[str, Any]:
    from evergreen.tasks.io.alerts import open_alarms

    alarms = open_alarms(setup.stores.ledger, setup.model)
    state, channels = "Open" if alarms else "NoAlarm", setup.config.alerts.notify
    return {"state": state, "model": setup.model, "reasons": [], "open": alarms, "notify": channels}


def _print_alarms(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['state']}")
    for answer in result.get("channels", []):
        print(f"  {'arrived ' if answer['arrived'] else 'FAILED  '} {answer['channel']}: {answer['message']}")
    for reason in result["reasons"] if "channels" not in result else []:
        print(f"  {reason['message']}")
    for line in alarm_lines(result.get("open", [])):
        print(f"  {line}")
    if "open" in result and not result["notify"]:
        print("  alerts.notify is empty, so alarms are sent to nobody: add a channel to it.")


_SHOWN = 40
"""Columns of a comparison of files that a terminal shows."""


def drift(
    reference: Annotated[str, Argument(metavar="REFERENCE", help="CSV or Parquet file, or folder of them.")],
    current: Annotated[str, Argument(metavar="CURRENT", help="The file or folder to compare.")],
    html: Annotated[Path | None, Option("--html", help="File to write a page to; it opens offline.")] = None,
    columns: Annotated[str, Option(help="Columns to compare, by comma (default: all).")] = "",
    exclude: Annotated[str, Option(help="Columns to leave out, by comma.")] = "",
    categorical: Annotated[str, Option(help="Columns of numbers that are categories, by comma.")] = "",
    significance: Annotated[float, Option(help="Largest corrected p-value that counts as drift.")] = 0.05,
    psi: Annotated[float, Option("--psi", help="Smallest PSI that counts as drift.")] = 0.10,
    json: Json = False,
) -> None:
    """Compare the columns of two files or folders. Needs no model."""
    if not 0 < significance < 1 or not psi > 0:
        raise InputError(
            f"--significance {significance:g} with --psi {psi:g} is not allowed: give a --significance between 0 and "
            "1, and a --psi above 0."
        )
    from evergreen.tasks.core.reports.files_page import files_page
    from evergreen.tasks.io.compare_files import compare_files, write_page
    from evergreen.tasks.io.sources.open import named_as

    with named_as("the argument"):
        comparison = compare_files(
            reference,
            current,
            columns=split_names(columns),
            exclude=split_names(exclude),
            categorical=split_names(categorical),
            significance=significance,
            psi_warning=psi,
        )
    if html is not None:
        write_page(html, files_page(comparison.drift, comparison.reference, comparison.current))
        note(f"Wrote {html}.")
    result = {**comparison.drift.to_dict(), "html": None if html is None else str(html)}
    by_move = [one.to_dict() for one in comparison.drift.by_move]
    show(result, lambda shown: _print_drift(shown, by_move), as_json=json)


def _print_drift(result: dict[str, Any], columns: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("column", no_wrap=True, max_width=26 if sys.stdout.isatty() else None)
    table.add_column("", no_wrap=True)
    for name in ("PSI", "shift", "KS", "p corrected", "missing"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in columns[:_SHOWN]:
        verdict = "drift" if one["drifted"] else "quiet" if one["drifted"] is False else "not judged"
        numbers = (_drift_text(one[name]) for name in ("psi", "mean_shift", "ks", "adjusted_p_value"))
        missing = f"{one['missing_after']:.1%}" if one["missing_after"] else ""
        table.add_row(escape(one["column"]), verdict, *numbers, missing)
    if columns:
        console_of_stdout().print(table, highlight=False)
    if len(columns) > _SHOWN:
        print(f"… and {len(columns) - _SHOWN} columns that moved less (--json or --html shows all of them).")
    for name, why in {**result["changed"], **result["unreadable"], **result["skipped"]}.items():
        print(f"not compared: {name}: {why}")
    print(f"{result['state']}: {' '.join(reason['message'] for reason in result['reasons'])}")


def _drift_text(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if 0 <= value < 0.001 else f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"
