"""Commands that run a stage: train, validate, challenge, register, promote, rollback, reconcile, approve."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from deployments.cli.output import print_result
from deployments.cli.session import prepare_prefect, run_flow
from tasks.core.errors import InputError
from tasks.io.setup import open_setup
from tasks.io.store_checks import reach_servers

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name under config/, or path of a YAML file.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object on stdout.")]
AsOf = Annotated[
    str | None, typer.Option("--until", help="Use nothing at or after this moment of the model's clock.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Decide and report, do not act.")]
Why = Annotated[str, typer.Option("--why", help="Reason, kept in the ledger.")]
PROMISED = {
    "flows.train:train": ("version", "metrics", "baseline"),
    "flows.challenge:challenge": ("verdict", "test", "difference", "interval", "n", "blocks", "alpha_left"),
}
"""Keys that ``--json`` always has, null where a stage ended before it knew them."""


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (train, validate, challenge, register, promote, rollback, reconcile, approve):
        app.command()(command)


def train(model: Model, until: AsOf = None, json: Json = False) -> None:
    """Train the candidates, register the winner as @candidate."""
    _run("flows.train:train", model, {"until": until}, as_json=json)


def validate(model: Model, version: Annotated[int | None, typer.Option()] = None, json: Json = False) -> None:
    """Pass the candidate through the gate; approved it becomes @challenger."""
    _run("flows.validate:validate", model, {"version": version}, as_json=json)


def challenge(model: Model, until: AsOf = None, dry_run: DryRun = False, json: Json = False) -> None:
    """Let the challenger meet the champion; promote it if it is superior."""
    _run(
        "flows.challenge:challenge", model, {"until": until, "dry_run": dry_run}, as_json=json, approves=True
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
    _run("flows.register:register", model, {"uri": uri, "trained_to": trained_to}, as_json=json)


def promote(
    model: Model,
    version: Annotated[int, typer.Option(help="Version to promote.")],
    why: Why = "promoted by hand",
    json: Json = False,
) -> None:
    """Make a version the champion by hand; the former champion becomes @fallback."""
    _run("flows.promote:promote", model, {"version": version, "reason": why}, as_json=json)


def rollback(
    model: Model,
    to: Annotated[int | None, typer.Option("--to", help="Version to return to (default: @fallback).")] = None,
    why: Why = "rolled back by hand",
    json: Json = False,
) -> None:
    """Return to the fallback, or to a named version."""
    _run("flows.promote:rollback", model, {"to": to, "reason": why}, as_json=json)


def reconcile(model: Model, json: Json = False) -> None:
    """Settle a plan whose holder died: abandon it, or finish it."""
    _run("flows.promote:reconcile", model, {}, as_json=json)


def approve(
    model: Model,
    reject: Annotated[bool, typer.Option("--reject", help="Answer no.")] = False,
    why: Why = "",
    json: Json = False,
) -> None:
    """Answer the approval a challenge waits for."""
    setup = open_setup(model)
    if not prepare_prefect(setup.settings):
        raise InputError(
            "No Prefect server is running, so nothing waits for an answer. Start one by 'evergreen up'."
        )
    from deployments.approval import answer_approval

    print_result(answer_approval(setup.model, approved=not reject, why=why), as_json=json)


def _run(flow: str, model: str, options: dict[str, Any], *, as_json: bool, approves: bool = False) -> None:
    """Check the configuration first, so that a typo costs no server; then run the flow."""
    setup = open_setup(model)
    reach_servers(setup.settings)
    running = prepare_prefect(setup.settings)
    if approves and not running and setup.config.promotion.approval == "manual":
        raise InputError(
            f"promotion.approval of '{setup.model}' is manual: the question needs a running Prefect server. "
            "Start one by 'evergreen up'."
        )
    result = run_flow(flow, {"model": model, **options})
    print_result({**dict.fromkeys(PROMISED.get(flow, ())), **result}, as_json=as_json)
