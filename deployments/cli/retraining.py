"""Commands about retraining: retrain, pause, resume, due."""

from __future__ import annotations

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.deployments.cli.options import AsOf, DryRun, Json, Model
from evergreen.deployments.cli.output import clean, note, open_model, prepare_prefect, print_result, run_flow
from evergreen.tasks.core.errors import InputError, NotLearnable, Unreachable
from evergreen.tasks.io.settings import read_settings

if TYPE_CHECKING:
    from rich.console import Console

    from evergreen.tasks.io.setup import Setup

# What a replay says on a terminal: a table of policies, the gaps to the best, the settings to paste.


_HEAD = ("policy", "mean", "± 95 %", "worst", "retr", "prom", "ref", "alarms", "regret")


def show_replay(result: dict[str, Any]) -> None:
    """Print the policies, the baseline, the front and what a search found."""
    from rich.console import Console
    from rich.table import Column, Table

    console = Console()
    if not result.get("policies"):
        console.print(f"{result['model']}: {result['state']}", markup=False)
        for reason in result["reasons"]:
            console.print(f"  {reason['code']}: {reason['message']}", markup=False, soft_wrap=True)
        return
    metric = result["policies"][0]["metric"]
    table = Table(
        *(Column(name, no_wrap=True) for name in _HEAD),
        title=f"{result['model']}: {metric} from {result['start']} on",
        box=None,
        padding=(0, 1),
    )
    for policy in [*result["policies"], *([result["baseline"]] if result["baseline"] else [])]:
        table.add_row(*_cells(policy))
    console.print(table, highlight=False)
    accuracies = {
        one["policy"]: one["accuracy"]
        for one in [*result["policies"], result["baseline"] or {}]
        if one.get("accuracy")
    }
    if accuracies:
        said = ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
        console.print(f"accuracy: {said}", markup=False, highlight=False, soft_wrap=True)
    front = [one["policy"] for one in result["pareto"] if one["front"]]
    console.print(
        f"No other is both better and cheaper than: {', '.join(front)}", markup=False, soft_wrap=True
    )
    for line in result["notes"]:
        console.print(f"{line['code']}: {line['message']}", markup=False, highlight=False, soft_wrap=True)
    if result.get("search"):
        _show_search(console, result["search"])
    if result.get("run_url"):
        console.print(f"page: {result['run_url']}", markup=False, highlight=False, soft_wrap=True)


def _cells(policy: dict[str, Any]) -> list[str]:
    low, high = policy["mean_interval"]
    half = None if low is None or high is None else (high - low) / 2
    counts = [str(policy[name]) for name in ("retrainings", "promotions", "refused", "alarms")]
    numbers = [_number(value) for value in (policy["mean"], half, policy["worst"])]
    return [policy["policy"], *numbers, *counts, _number(policy["regret"])]


def _show_search(console: Console, search: dict[str, Any]) -> None:
    console.print(
        f"\nSettings found before {search['unseen_from']}, and what they did after it:", markup=False
    )
    for one in search["chosen"]:
        later = one["unseen_part"] or {}
        console.print(
            f"{one['policy']}: mean {_number(later.get('mean'))}, {later.get('retrainings')} retrainings",
            markup=False,
        )
        console.print(one["yaml"].rstrip(), markup=False, highlight=False)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


ReasonText = Annotated[str, typer.Option("--reason", help="Reason, kept in the ledger.")]


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (retrain, replay, due, pause, resume):
        app.command()(command)


def retrain(
    model: Model,
    force: Annotated[
        bool,
        typer.Option("--force", help="Start although cooldown, budget or back-off hold it; needs --reason."),
    ] = False,
    why: Annotated[
        str | None, typer.Option("--reason", help="Reason of --force, kept in the ledger.")
    ] = None,
    trigger: Annotated[
        str, typer.Option(help="What asks: manual, or schedule (only what is due or alarmed starts it).")
    ] = "manual",
    until: AsOf = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train, validate, challenge and promote or keep, if nothing holds it: one at a time, under a cooldown."""
    if force and not (why or "").strip():
        raise InputError("--force needs a reason, which is kept in the ledger: add --reason 'TEXT'.")
    setup = open_model(model)
    result = _held(setup, trigger=trigger, force=force, reason=why, until=until, dry_run=dry_run)
    if result is None:
        prepare_prefect(setup.settings)
        options = {"trigger": trigger, "force": force, "reason": why, "until": until, "dry_run": dry_run}
        result = run_flow("evergreen.flows.retrain:retrain", {"model": model, **options})
    print_result({"next_allowed_at": None, "causes": [], "stages": {}, **result}, as_json=json)
    if result.get("next_allowed_at") and not json:
        print(f"  next allowed at {result['next_allowed_at']}")


def _held(setup: Setup, *, trigger: str, until: str | None, **asked: Any) -> dict[str, Any] | None:
    """Return the answer where nothing is to be started, which needs no run; None where a run has to say."""
    from evergreen.tasks.core.retraining.types import MANUAL
    from evergreen.tasks.io.retraining_request import answer_without_run, read_request
    from evergreen.tasks.runtime.sources import open_source_of

    if trigger not in (MANUAL, "schedule"):
        return None
    request = read_request(setup, trigger=trigger, until=until, **asked)
    try:
        result = answer_without_run(setup, request, source=open_source_of(setup))
    except (NotLearnable, Unreachable):  # the run says so and records it, or tries again
        return None
    return None if result is None else result.to_dict()


def replay(
    model: Model,
    policies: Annotated[
        str,
        typer.Option(help="Policies by comma: configured, never, every, periodic:SPAN, fixed_thresholds."),
    ] = "configured,never,every,periodic:30d,fixed_thresholds",
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
    setup = open_model(model)
    prepare_prefect(setup.settings)
    options = {
        "policies": policies,
        "since": since,
        "until": until,
        "full": full,
        "search": search,
        "trials": trials,
    }
    result = run_flow("evergreen.flows.replay:replay", {"model": model, **options})
    if html is not None:
        _copy_page(setup, result["run_id"], html)
    if json:
        print(json_module.dumps(clean({"policies": [], **result}), default=str, allow_nan=False))
    else:
        show_replay(result)


def _copy_page(setup: Setup, run_id: str, path: Path) -> None:
    from evergreen.tasks.io.mlflow_store.tracking import open_tracker

    page = Path(open_tracker(setup.stores).client.download_artifacts(run_id, "replay.html"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    note(f"Wrote {path}.")


def due(
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="A configured model's name, or its YAML file (default: all)."),
    ] = None,
    json: Json = False,
) -> None:
    """List what asks for a retraining and why, what holds it, and when the next one is due; reads only."""
    from evergreen.tasks.io.config import list_models, shown_path
    from evergreen.tasks.io.retraining_request import due_now
    from evergreen.tasks.runtime.sources import open_source_of

    setups = [open_model(name) for name in ([model] if model else list_models(read_settings().config_dir))]
    if not setups:
        folder = shown_path(read_settings().config_dir)
        raise InputError(f"There is no YAML file of a model in {folder}/. Write one by 'evergreen init'.")
    found = [due_now(setup, source=open_source_of(setup)) for setup in setups]
    if json:
        many = {"state": _worst(found), "model": f"{len(found)} models", "reasons": [], "models": found}
        print(json_module.dumps(clean(found[0] if model else many)))
        return
    for one in found:
        _show_due(one)


def pause(model: Model, why: ReasonText, json: Json = False) -> None:
    """Hold every retraining of a model until it is resumed; shown in status."""
    from evergreen.tasks.io.retraining_claims import pause_retraining

    _print_reason(pause_retraining(open_model(model), why=why), as_json=json)


def resume(model: Model, why: ReasonText = "", json: Json = False) -> None:
    """End a pause."""
    from evergreen.tasks.io.retraining_claims import resume_retraining

    _print_reason(resume_retraining(open_model(model), why=why), as_json=json)


def _print_reason(result: dict[str, Any], *, as_json: bool) -> None:
    print(json_module.dumps(clean(result)) if as_json else result["reasons"][0]["message"])


def _worst(found: list[dict[str, Any]]) -> str:
    states = {one["state"] for one in found}
    return next(state for state in ("Due", "Blocked", "InsufficientData") if state in states)


def _show_due(one: dict[str, Any]) -> None:
    print(f"{one['model']}: {one['state']}")
    for reason in one["reasons"]:
        print(f"  {reason['code']}: {reason['message']}")
    for trigger in one["triggers"]:
        when = f", due at {trigger['due_at']}" if trigger["due_at"] else ""
        print(
            f"  {'DUE ' if trigger['due'] else 'wait'} {trigger['trigger']}: {trigger['said'].rstrip('.')}{when}."
        )
    if one["next_allowed_at"]:
        print(f"  next allowed at {one['next_allowed_at']}")
