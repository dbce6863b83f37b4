"""Commands that look: init, status, doctor."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from evergreen.deployments.cli.options import AsOf, DryRun, Json, Model, ReasonText
from evergreen.deployments.cli.output import (
    alarm_lines,
    clean,
    open_model,
    prepare_prefect,
    print_result,
    run_flow,
)
from evergreen.tasks.core.errors import InputError

STAGE_WORDS = {"champion": "Production", "challenger": "Staging", "candidate": "None", "fallback": "Archived"}


def add_inspection_commands(app: typer.Typer) -> None:
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
    from evergreen.tasks.io.init_config import init_config

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
        str, typer.Argument(metavar="MODEL", help="A configured model's name, or the path of its YAML file.")
    ],
    json: Json = False,
) -> None:
    """Show who reigns, who waits, what is pending, and whether ledger and aliases agree; reads only."""
    from evergreen.tasks.io.status import model_status

    result = model_status(open_model(model))
    if json:
        print(json_module.dumps(clean(result), default=str))
        return
    from rich.console import Console
    from rich.table import Table

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
    looks = f"{told['looks']} analys{'is' if told['looks'] == 1 else 'es'}"
    return [
        f"live test {told['test']} ({told['metric']}, {told['mode']}) since {told['since']}: {one['variant']} (version "
        f"{one['version']}) {one['verdict'] or 'not analysed yet'}, {looks}"
        for one in told["challengers"]
    ]


def doctor(json: Json = False) -> None:
    """Check the machine, servers, configurations and versions, and say what to do."""
    from evergreen.deployments.doctor import run_checks

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
            print(f"{'ok  ' if check['ok'] else 'FIX '} {check['check']}: {check['message']}")
    raise typer.Exit(0 if healthy else 1)


# Commands that run a stage: train, validate, challenge, register, promote, rollback, reconcile, approve.


PROMISED = {
    "evergreen.flows.train:train": ("version", "metrics", "baseline"),
    "evergreen.flows.challenge:challenge": (
        "verdict",
        "test",
        "difference",
        "interval",
        "n",
        "blocks",
        "alpha_left",
    ),
}
"""Keys that ``--json`` always has, null where a stage ended before it knew them."""


def add_stage_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (train, validate, challenge, register, promote, rollback, reconcile, approve):
        app.command()(command)


def train(model: Model, until: AsOf = None, json: Json = False) -> None:
    """Train the candidates, register the winner as @candidate."""
    _run("evergreen.flows.train:train", model, {"until": until}, as_json=json)


def validate(model: Model, version: Annotated[int | None, typer.Option()] = None, json: Json = False) -> None:
    """Pass the candidate through the gate; approved it becomes @challenger."""
    _run("evergreen.flows.validate:validate", model, {"version": version}, as_json=json)


def challenge(model: Model, until: AsOf = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Let the challenger meet the champion; promote it if it is superior."""
    _run(
        "evergreen.flows.challenge:challenge",
        model,
        {"until": until, "dry_run": dry_run},
        as_json=json,
        approves=True,
    )


def register(
    model: Model,
    uri: Annotated[str, typer.Argument(metavar="URI", help="MLflow model URI, e.g. runs:/RUN/model.")],
    trained_to: Annotated[
        str, typer.Option("--trained-to", help="End of what the model learned from, on the model's clock.")
    ],
    json: Json = False,
) -> None:
    """Bring in a model that was trained elsewhere; it goes through the same gate."""
    _run("evergreen.flows.register:register", model, {"uri": uri, "trained_to": trained_to}, as_json=json)


def promote(
    model: Model,
    version: Annotated[int, typer.Option(help="Version to promote.")],
    why: ReasonText = "promoted by hand",
    json: Json = False,
) -> None:
    """Make a version the champion by hand; the former champion becomes @fallback."""
    _run("evergreen.flows.promote:promote", model, {"version": version, "reason": why}, as_json=json)


def rollback(
    model: Model,
    to: Annotated[int | None, typer.Option("--to", help="Version to return to (default: @fallback).")] = None,
    why: ReasonText = "rolled back by hand",
    json: Json = False,
) -> None:
    """Return to the fallback, or to a named version."""
    _run("evergreen.flows.rollback:rollback", model, {"to": to, "reason": why}, as_json=json)


def reconcile(model: Model, json: Json = False) -> None:
    """Settle a plan whose holder died: abandon it, or finish it."""
    _run("evergreen.flows.reconcile:reconcile", model, {}, as_json=json)


def approve(
    model: Model,
    reject: Annotated[bool, typer.Option("--reject", help="Answer no.")] = False,
    why: ReasonText = "",
    json: Json = False,
) -> None:
    """Answer the approval a challenge waits for."""
    from evergreen.tasks.io.setup import open_setup

    setup = open_setup(model)
    if not prepare_prefect(setup.settings):
        raise InputError(
            "No Prefect server is running, so nothing waits for an answer. Start one by 'evergreen up'."
        )
    from evergreen.deployments.approval import answer_approval

    print_result(answer_approval(setup.model, approved=not reject, why=why), as_json=json)


def _run(flow: str, model: str, options: dict[str, Any], *, as_json: bool, approves: bool = False) -> None:
    """Check the configuration first, so that a typo costs no server; then run the flow."""
    setup = open_model(model)
    running = prepare_prefect(setup.settings)
    if approves and not running and setup.config.promotion.approval == "manual":
        raise InputError(
            f"promotion.approval of '{setup.model}' is manual: the question needs a running Prefect server. "
            "Start one by 'evergreen up'."
        )
    result = run_flow(flow, {"model": model, **options})
    print_result({**dict.fromkeys(PROMISED.get(flow, ())), **result}, as_json=as_json)
