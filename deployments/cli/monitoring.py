"""Commands that watch: monitor, drift-limits."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.deployments.cli.options import Json, Model
from evergreen.deployments.cli.output import (
    alarm_lines,
    clean,
    find_prefect,
    note,
    open_model,
    prepare_prefect,
    print_result,
    run_flow,
)
from evergreen.tasks.core.errors import InputError

if TYPE_CHECKING:
    from evergreen.tasks.io.setup import Setup

LEVELS = {"quiet": "green", "warning": "yellow", "drift": "red", "insufficient": "dim"}
SHORT = {"quiet": "quiet", "warning": "WARN", "drift": "DRIFT", "insufficient": "few"}
TITLES = {"data": "data", "prediction": "pred", "outcome": "outc", "concept": "conc", "performance": "perf"}
MOST_LINES = 30


def add_monitoring_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(monitor)
    app.command("drift-limits")(drift_limits)


def monitor(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A configured model's name, or the path of its YAML file."),
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
        _monitor_all(as_json=json)
        return
    setup = open_model(str(model))
    options: dict[str, Any] = {"since": since, "until": until, "dry_run": dry_run}
    result = _idle(setup, options) if find_prefect(setup.settings) else None
    if result is None:
        prepare_prefect(setup.settings)
        result = run_flow("evergreen.flows.monitor:monitor", {"model": model, **options})
    if not json:
        _print_windows(result.get("windows") or [])
    print_result({"windows": [], **result}, as_json=json)


def _idle(setup: Setup, options: dict[str, Any]) -> dict[str, Any] | None:
    """Return the answer where no window is due, which needs no run; None where a run has something to do."""
    from evergreen.tasks.monitoring_report import answer_without_run

    result = answer_without_run(setup, **options)
    return None if result is None else result.to_dict()


def drift_limits(model: Model, json: Json = False) -> None:
    """Show the limits of a model's alarms, the null distribution they come from, and the false alarms to expect."""
    from evergreen.tasks.monitoring import show_drift_limits

    setup = open_model(model)
    result = show_drift_limits(setup)
    if json:
        print(json_module.dumps(clean(result), default=str, allow_nan=False))
        return
    from rich.console import Console
    from rich.table import Table

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


def _monitor_all(*, as_json: bool) -> None:
    from evergreen.tasks.io.settings import read_settings
    from evergreen.tasks.io.store_checks import reach_servers

    settings = read_settings()
    reach_servers(settings)
    prepare_prefect(settings)
    result = run_flow("evergreen.flows.monitor:monitor_fleet", {})
    if not as_json:
        from rich.console import Console
        from rich.table import Table

        table = Table("model", "state", "why")
        for one in result["models"]:
            table.add_row(one["model"], one["state"], one["reasons"][0]["message"] if one["reasons"] else "")
        Console().print(table)
    print_result(result, as_json=as_json)


def _print_windows(windows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from evergreen.tasks.core.drift.types import listed, short_time

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


# The command about alerts: what is open, and whether the channels work.


Test = Annotated[bool, typer.Option("--test", help="Send a test message to every channel of alerts.notify.")]

Deliver = Annotated[
    bool, typer.Option("--deliver", help="Tell channels and automations now what they were not told yet.")
]


def add_alert_command(app: typer.Typer) -> None:
    """Register this module's command."""
    app.command()(alert)


def alert(model: Model, test: Test = False, deliver: Deliver = False, json: Json = False) -> None:
    """Show what is open; --test sends a test message to every channel, --deliver what waits to be told."""
    if test and deliver:
        raise InputError("--test and --deliver are two things; give one of them.")
    from evergreen.tasks.io.setup import open_setup

    setup = open_setup(model)
    if (test or deliver) and any(not name.startswith("env:") for name in setup.config.alerts.notify):
        prepare_prefect(setup.settings)  # where the blocks are
    result = _send_test(setup) if test else _deliver_pending(setup) if deliver else _open_alarms(setup)
    if json:
        print(json_module.dumps(clean(result)))
    else:
        _print_alarms(result)
    raise typer.Exit(1 if result["state"] == "Failed" else 0)


def _send_test(setup: Setup) -> dict[str, Any]:
    from evergreen.tasks.alerts import send_test

    answers = send_test(setup)
    reasons = [
        {
            "code": "alert_not_delivered",
            "message": f"{a['channel']}: {a['message']}",
            "observed": a["channel"],
        }
        for a in answers
        if not a["arrived"]
    ]
    state = "Failed" if reasons else "Delivered"
    reasons = [{**reason, "limit": None} for reason in reasons]
    return {"state": state, "model": setup.model, "reasons": reasons, "channels": answers}


def _deliver_pending(setup: Setup) -> dict[str, Any]:
    automations = find_prefect(setup.settings)  # where none runs, they are told by the next run that has one
    from evergreen.tasks.alerts import deliver_alerts

    reasons = [reason.to_dict() for reason in deliver_alerts.fn(setup, automations=automations)]
    failed = any(reason["code"] == "alert_not_delivered" for reason in reasons)
    return {"state": "Failed" if failed else "Delivered", "model": setup.model, "reasons": reasons}


def _open_alarms(setup: Setup) -> dict[str, Any]:
    from evergreen.tasks.io.alerts import open_alarms
    from evergreen.tasks.io.store_checks import reach_servers

    reach_servers(setup.settings)
    alarms = open_alarms(setup.stores.ledger, setup.model)
    state = "Open" if alarms else "NoAlarm"
    return {
        "state": state,
        "model": setup.model,
        "reasons": [],
        "open": alarms,
        "notify": setup.config.alerts.notify,
    }


def _print_alarms(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['state']}")
    for answer in result.get("channels", []):
        print(f"  {'arrived ' if answer['arrived'] else 'FAILED  '} {answer['channel']}: {answer['message']}")
    for reason in result["reasons"] if "channels" not in result else []:
        print(f"  {reason['message']}")
    for line in alarm_lines(result.get("open", [])):
        print(f"  {line}")
    if "open" in result and not result["notify"]:
        print("  alerts.notify is empty: nobody is told.")


# The command that compares two plain files, without any model or store.


_SHOWN = 40


def add_drift_command(app: typer.Typer) -> None:
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
    from evergreen.tasks.io.compare_files import compare_files, write_files_page

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
    _print_drift(result, [one.to_dict() for one in found.drift.by_move])


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _print_drift(result: dict[str, Any], columns: list[dict[str, Any]]) -> None:
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
        numbers = (_drift_text(one[name]) for name in ("psi", "mean_shift", "ks", "adjusted_p_value"))
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


def _drift_text(value: float | None) -> str:
    if value is None:
        return ""
    return "< 0.001" if 0 <= value < 0.001 else f"{value:.3f}" if abs(value) < 100 else f"{value:.3g}"
