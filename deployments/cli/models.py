"""Commands about a model's versions: status, and the stages from train to approve."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer import Argument, Option

from evergreen.deployments.cli.options import AsOf, DryRun, Json, Model, ReasonText
from evergreen.deployments.cli.output import (
    alarm_lines,
    console_of_stdout,
    open_model,
    print_result,
    require_prefect,
    run_stage,
    short_times,
    show,
)


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (status, train, validate, challenge, register, promote, rollback, reconcile, approve):
        app.command()(command)


def status(model: Model, json: Json = False) -> None:
    """Show a model's versions, traffic and open alarms. Reads only."""
    from evergreen.tasks.io.status import model_status

    show(model_status(open_model(model, reads_only=True)), _print_status, as_json=json)


def _print_status(result: dict[str, Any]) -> None:
    from rich.table import Table

    from evergreen.tasks.core.promotion.registry_state import STAGE_WORDS

    table = Table("alias", "version", "stage word", "validation", "trained to", title=result["model"])
    for alias, word in STAGE_WORDS.items():
        holder = result[alias] or {}
        cells = [holder.get("version"), word, holder.get("validation_status"), holder.get("trained_to")]
        table.add_row(f"@{alias}", *(str(cell) if cell is not None else "-" for cell in cells))
    console_of_stdout().print(table)
    for plan in result["pending"]:
        print(f"pending: {plan['kind']} of version {plan['version']} ({plan['state']})")
    for line in alarm_lines(result["health"]["open"]):
        print(f"open: {line}")
    if result["health"]["last_run"]["condition"] == "warning":
        print(result["health"]["last_run"]["message"])
    _print_retraining(result["retraining"])
    for one in (result["traffic"] or {"variants": []})["variants"]:
        print(f"traffic: {one['share']:.2%} {one['role']} {one['name']} ({one['label']})")
    _print_live_test(result["live_test"])
    if not result["consistent"]:
        print(f"NOT consistent: run 'evergreen reconcile {result['model']}'")
    elif not result["reasons"]:
        print("consistent: ledger and aliases agree")
    for reason in result["reasons"]:
        print(reason["message"])


def _print_retraining(retraining: dict[str, Any]) -> None:
    """Print a line for a pause and one for the newest retraining."""
    if paused := retraining["paused"]:
        print(short_times(f"retraining paused since {paused['since']}: {paused['why']}"))
    if last := retraining["last"]:
        print(short_times(f"last retraining {last['at']} ({', '.join(last['causes'])}): {last['state']}"))


def _print_live_test(test: dict[str, Any] | None) -> None:
    """Print a line for each challenger of the live test that runs."""
    if test is None:
        return
    times = f"{test['looks']} analys{'is' if test['looks'] == 1 else 'es'}"
    for one in test["challengers"]:
        verdict = one["verdict"] or "not analysed yet"
        print(
            f"live test {test['test']} ({test['metric']}, {test['mode']}) since {test['since']}: {one['variant']} "
            f"(version {one['version']}) {verdict}, {times}"
        )


def train(model: Model, until: AsOf = None, json: Json = False) -> None:
    """Train the candidates and register the best as @candidate."""
    nothing = dict.fromkeys(("version", "metrics", "baseline"))
    result = run_stage("train", model, until=until)
    print_result({**nothing, **result}, as_json=json)


def validate(
    model: Model,
    version: Annotated[int | None, Option(help="Version to check (default: @candidate).")] = None,
    json: Json = False,
) -> None:
    """Check the candidate by every gate. If it passes, it becomes @challenger."""
    print_result(run_stage("validate", model, version=version), as_json=json)


def challenge(model: Model, until: AsOf = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Compare the challenger with the champion. Promotes it if it is better."""
    result = run_stage("challenge", model, until=until, dry_run=dry_run, approves=True)
    keys = ("verdict", "test", "difference", "interval", "n", "blocks", "alpha_left")
    print_result({**dict.fromkeys(keys), **result}, as_json=json)


def register(
    model: Model,
    uri: Annotated[str, Argument(metavar="URI", help="MLflow model URI, e.g. runs:/RUN/model.")],
    trained_to: Annotated[str, Option("--trained-to", help="Newest training row, on the model's clock.")],
    json: Json = False,
) -> None:
    """Register a model that was trained elsewhere. The same gates check it."""
    print_result(run_stage("register", model, uri=uri, trained_to=trained_to), as_json=json)


def promote(
    model: Model,
    version: Annotated[int, Option(help="Version to promote.")],
    reason: ReasonText = "promoted by hand",
    json: Json = False,
) -> None:
    """Make a version the champion by hand. The former one becomes @fallback."""
    print_result(run_stage("promote", model, version=version, reason=reason), as_json=json)


def rollback(
    model: Model,
    to: Annotated[int | None, Option("--to", help="Version to return to (default: @fallback).")] = None,
    reason: ReasonText = "rolled back by hand",
    json: Json = False,
) -> None:
    """Make @fallback, or a named version, the champion again."""
    print_result(run_stage("rollback", model, to=to, reason=reason), as_json=json)


def reconcile(model: Model, json: Json = False) -> None:
    """Finish or abandon a promotion that was interrupted."""
    print_result(run_stage("reconcile", model), as_json=json)


def approve(
    model: Model,
    reject: Annotated[bool, Option("--reject", help="Reject it instead.")] = False,
    reason: ReasonText = "",
    json: Json = False,
) -> None:
    """Approve, or reject, a promotion that waits for an answer."""
    from evergreen.tasks.io.setup import open_setup

    setup = open_setup(model)
    require_prefect("No Prefect server is running, so no promotion waits for an answer.", setup.settings)
    from evergreen.deployments.approval import answer_approval

    print_result(answer_approval(setup.model, approved=not reject, why=reason), as_json=json)
