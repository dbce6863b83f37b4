"""Commands about retraining: retrain, pause, resume, due."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import Annotated, Any

import typer

from deployments.cli.output import clean, note, print_result
from deployments.cli.replayed import show_replay
from deployments.cli.session import prepare_prefect, run_flow
from deployments.cli.stages import AsOf, DryRun, Json, Model
from tasks.core.errors import InputError
from tasks.io.configs import list_models
from tasks.io.settings import read_settings
from tasks.io.setup import Setup, open_setup
from tasks.io.store_checks import reach_servers

Because = Annotated[str, typer.Option("--why", help="Reason, kept in the ledger.")]


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (retrain, replay, due, pause, resume):
        app.command()(command)


def retrain(
    model: Model,
    force: Annotated[
        bool,
        typer.Option("--force", help="Start although cooldown, budget or back-off hold it; needs --why."),
    ] = False,
    why: Annotated[str | None, typer.Option("--why", help="Reason of --force, kept in the ledger.")] = None,
    trigger: Annotated[
        str, typer.Option(help="What asks: manual, or schedule (only what is due or alarmed starts it).")
    ] = "manual",
    until: AsOf = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train, validate, challenge and promote or keep, if nothing holds it: one at a time, under a cooldown."""
    if force and not (why or "").strip():
        raise InputError("--force needs a reason, which is kept in the ledger: add --why 'TEXT'.")
    setup = open_setup(model)
    reach_servers(setup.settings)
    prepare_prefect(setup.settings)
    options = {"trigger": trigger, "force": force, "reason": why, "until": until, "dry_run": dry_run}
    result = run_flow("flows.retrain:retrain", {"model": model, **options})
    print_result({"next_allowed_at": None, "causes": [], "stages": {}, **result}, as_json=json)
    if result.get("next_allowed_at") and not json:
        print(f"  next allowed at {result['next_allowed_at']}")


def replay(
    model: Model,
    policies: Annotated[
        str, typer.Option(help="Policies by comma: configured, never, every, periodic:SPAN, literal.")
    ] = "configured,never,every,periodic:30d,literal",
    since: Annotated[
        str | None,
        typer.Option("--from", help="Train the first model as of here (default: after 30 % of the rows)."),
    ] = None,
    until: AsOf = None,
    full: Annotated[
        bool, typer.Option("--full", help="All candidates compete in each retraining; contracts are checked.")
    ] = False,
    search: Annotated[
        str | None, typer.Option(help="Also search for settings: grid or random; prints the YAML to paste.")
    ] = None,
    trials: Annotated[int, typer.Option(min=1, max=500, help="Settings that --search tries.")] = 20,
    html: Annotated[Path | None, typer.Option("--html", help="Also write the page here.")] = None,
    json: Json = False,
) -> None:
    """Show what policies of retraining would have done on the model's own history, before one is switched on."""
    setup = open_setup(model)
    reach_servers(setup.settings)
    prepare_prefect(setup.settings)
    options = {
        "policies": policies, "since": since, "until": until, "full": full, "search": search, "trials": trials,
    }  # fmt: skip
    result = run_flow("flows.replay:replay", {"model": model, **options})
    if html is not None:
        _copy_page(setup, result["run_id"], html)
    if json:
        print(json_module.dumps(clean({"policies": [], **result}), default=str, allow_nan=False))
    else:
        show_replay(result)


def _copy_page(setup: Setup, run_id: str, path: Path) -> None:
    from tasks.io.tracking import open_tracker

    page = Path(open_tracker(setup.stores).client.download_artifacts(run_id, "replay.html"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    note(f"Wrote {path}.")


def due(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Name under config/, or a YAML file (default: all).")
    ] = None,
    json: Json = False,
) -> None:
    """List what asks for a retraining and why, what holds it, and when the next one is due; reads only."""
    from tasks.due import due_now

    setups = [open_setup(name) for name in ([model] if model else list_models(read_settings().config_dir))]
    if not setups:
        raise InputError("There is no model under config/. Write one by 'evergreen init'.")
    reach_servers(setups[0].settings)
    found = [due_now(setup) for setup in setups]
    if json:
        many = {"state": _gravest(found), "model": f"{len(found)} models", "reasons": [], "models": found}
        print(json_module.dumps(clean(found[0] if model else many)))
        return
    for one in found:
        _show_due(one)


def pause(model: Model, why: Because, json: Json = False) -> None:
    """Hold every retraining of a model until it is resumed; shown in status."""
    from tasks.pause import pause_retraining

    _say(pause_retraining(_ready(model), why=why), as_json=json)


def resume(model: Model, why: Because = "", json: Json = False) -> None:
    """End a pause."""
    from tasks.pause import resume_retraining

    _say(resume_retraining(_ready(model), why=why), as_json=json)


def _ready(model: str) -> Setup:
    setup = open_setup(model)
    reach_servers(setup.settings)
    return setup


def _say(result: dict[str, Any], *, as_json: bool) -> None:
    print(json_module.dumps(clean(result)) if as_json else result["reasons"][0]["message"])


def _gravest(found: list[dict[str, Any]]) -> str:
    states = {one["state"] for one in found}
    return next(state for state in ("Due", "Held", "Insufficient") if state in states)


def _show_due(one: dict[str, Any]) -> None:
    print(f"{one['model']}: {one['state']}")
    for reason in one["reasons"]:
        print(f"  {reason['code']}: {reason['message']}")
    for trigger in one["triggers"]:
        when = f", due at {trigger['due_at']}" if trigger["due_at"] else ""
        print(f"  {'DUE ' if trigger['due'] else 'wait'} {trigger['trigger']}: {trigger['said']}{when}")
    if one["next_allowed_at"]:
        print(f"  next allowed at {one['next_allowed_at']}")
