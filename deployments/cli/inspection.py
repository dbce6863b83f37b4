"""Commands that look: init, status, doctor."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from deployments.cli.output import alarm_lines, clean
from tasks.io.setup import open_setup
from tasks.io.store_checks import reach_servers

Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
STAGE_WORDS = {"champion": "Production", "challenger": "Staging", "candidate": "None", "fallback": "Archived"}


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (init, status, doctor):
        app.command()(command)


def init(
    data: Annotated[str, typer.Argument(metavar="DATA", help="CSV or Parquet file, or SQLAlchemy URL.")],
    target: Annotated[str, typer.Option(help="Column to predict.")],
    time: Annotated[str | None, typer.Option(help="Column of the clock.")] = None,
    group: Annotated[str | None, typer.Option(help="Column of the group to rank in.")] = None,
    table: Annotated[str | None, typer.Option(help="Table of a SQLAlchemy URL.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write (default: config/<data>.yaml).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    json: Json = False,
) -> None:
    """Look at data and write a commented configuration that runs unedited."""
    from tasks.init import init_config

    result = init_config(data, target=target, time=time, group=group, table=table, out=out, force=force)
    if json:
        print(json_module.dumps(clean(result), default=str))
        return
    print(f"Wrote {result['path']}: {result['problem']}, metric {result.get('metric', 'by default')}.")
    for name, reason in (result.get("exclude") or {}).items():
        print(f"  excluded {name}: {reason}")
    for warning in result.get("warnings") or []:
        print(f"  look at: {warning}")
    print(f"Next: evergreen train {result['path']}")


def status(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name under config/, or path of a YAML file.")
    ],
    json: Json = False,
) -> None:
    """Show who reigns, who waits, what is pending, and whether ledger and aliases agree; reads only."""
    from tasks.status import model_status

    setup = open_setup(model)
    reach_servers(setup.settings)
    result = model_status(setup)
    if json:
        print(json_module.dumps(clean(result), default=str))
        return
    table = Table("alias", "version", "stage word", "validation", "trained to", title=result["model"])
    for alias, word in STAGE_WORDS.items():
        holder = result[alias] or {}
        cells = [holder.get("version"), word, holder.get("validation_status"), holder.get("trained_to")]
        table.add_row(f"@{alias}", *(str(cell) if cell is not None else "-" for cell in cells))
    console = Console()
    console.print(table)
    for plan in result["pending"]:
        console.print(f"pending: {plan['kind']} of version {plan['version']} ({plan['state']})", markup=False)
    for line in alarm_lines(result["health"]["open"]):
        console.print(f"open: {line}", markup=False, highlight=False, soft_wrap=True)
    if result["health"]["last_run"]["condition"] == "warning":
        console.print(result["health"]["last_run"]["message"], markup=False, soft_wrap=True)
    for line in _retraining_lines(result["retraining"]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for one in (result["traffic"] or {"variants": []})["variants"]:
        said = f"traffic: {one['share']:.2%} {one['role']} {one['name']} ({one['label']})"
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    for line in _live_test_lines(result["live_test"]):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(
        "consistent" if result["consistent"] else "NOT consistent: run 'evergreen reconcile'", markup=False
    )


def _retraining_lines(told: dict[str, Any]) -> list[str]:
    """Return a line for a pause and one for the newest retraining."""
    lines = []
    if told["paused"]:
        lines.append(f"retraining paused since {told['paused']['since']}: {told['paused']['why']}")
    if told["last"]:
        last = told["last"]
        lines.append(f"last retraining {last['at']} ({', '.join(last['causes'])}): {last['state']}")
    return lines


def _live_test_lines(told: dict[str, Any] | None) -> list[str]:
    """Return a line for each challenger of the live test that runs."""
    if told is None:
        return []
    looks = f"{told['looks']} look{'' if told['looks'] == 1 else 's'}"
    return [
        f"live test {told['test']} ({told['metric']}, {told['mode']}) since {told['since']}: {one['variant']} (version "
        f"{one['version']}) {one['verdict'] or 'not looked at yet'}, {looks}"
        for one in told["challengers"]
    ]


def doctor(json: Json = False) -> None:
    """Check the machine, servers, configurations and versions, and say what to do."""
    from deployments.doctor import run_checks

    checks = run_checks()
    healthy = all(check["ok"] for check in checks)
    if json:
        reasons = [
            {"code": check["check"], "message": check["message"], "observed": None, "limit": None}
            for check in checks
            if not check["ok"]
        ]
        print(
            json_module.dumps(
                {"state": "Healthy" if healthy else "Unhealthy", "reasons": reasons, "checks": checks}
            )
        )
    else:
        for check in checks:
            print(f"{'ok  ' if check['ok'] else 'MEND'} {check['check']}: {check['message']}")
    raise typer.Exit(0 if healthy else 1)
