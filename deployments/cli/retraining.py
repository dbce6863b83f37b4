"""Commands about retraining: retrain, replay, due, pause, resume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from evergreen.deployments.cli.options import AsOf, DryRun, Json, Model, OptionalModel, ReasonText
from evergreen.deployments.cli.output import (
    console_of_stdout,
    note,
    open_model,
    print_reasons,
    print_result,
    run_stage,
    short_times,
    show,
)
from evergreen.tasks.core.errors import InputError, NotLearnable, Unreachable
from evergreen.tasks.io.settings import read_settings

if TYPE_CHECKING:
    from evergreen.tasks.io.setup import Setup


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (retrain, replay, due, pause, resume):
        app.command()(command)


def retrain(
    model: Model,
    force: Annotated[
        bool, Option("--force", help="Ignore cooldown, budget, back-off; needs --reason.")
    ] = False,
    reason: Annotated[str | None, Option("--reason", help="Reason of --force, kept in the ledger.")] = None,
    trigger: Annotated[
        str,
        Option(
            help="manual, or schedule (drift, performance): start only if a trigger is due or an alarm is open."
        ),
    ] = "manual",
    until: AsOf = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train, validate and challenge in one run. A cooldown or pause can forbid it."""
    from evergreen.tasks.core.retraining.types import REQUESTED_BY

    if trigger not in REQUESTED_BY:
        raise InputError(f"'{trigger}' is not a trigger. Write one of {', '.join(REQUESTED_BY)}.")
    if force and not (reason or "").strip():
        raise InputError("--force needs a reason, which is recorded in the ledger: add --reason 'TEXT'.")
    setup = open_model(model)
    options: dict[str, Any] = {
        "trigger": trigger,
        "force": force,
        "reason": reason,
        "until": until,
        "dry_run": dry_run,
    }
    result = _answer_without_run(setup, **options)
    if result is None:
        result = run_stage("retrain", model, setup=setup, **options)
    print_result({"next_allowed_at": None, "causes": [], "stages": {}, **result}, as_json=json)
    if not json:
        _print_next(result)


def _print_next(result: dict[str, Any]) -> None:
    """Print when the next may start, or, where nothing forbids it and nothing asks, when it starts by itself."""
    if not result.get("next_allowed_at"):
        return
    forbidden = {reason["code"] for reason in result["reasons"]} - _NOTHING_ASKS
    words = "next allowed at" if forbidden else "allowed now by hand; by itself at"
    print(short_times(f"  {words} {result['next_allowed_at']}"))


_NOTHING_ASKS = {"not_due", "not_judged", "hysteresis", "dry_run"}
"""Codes of reasons that forbid nothing."""


def _answer_without_run(setup: Setup, *, trigger: str, **options: Any) -> dict[str, Any] | None:
    """Return the result where nothing is to start, which needs no Prefect run; None where a run has to decide."""
    from evergreen.tasks.core.retraining.types import MANUAL
    from evergreen.tasks.data import open_source_of
    from evergreen.tasks.io.retraining import answer_without_run, read_request

    if trigger not in (MANUAL, "schedule"):
        return None
    request = read_request(setup, trigger=trigger, **options)
    try:
        result = answer_without_run(setup, request, source=open_source_of(setup))
    except (NotLearnable, Unreachable):  # the run says so and records it, or tries again
        return None
    return None if result is None else result.to_dict()


def replay(
    model: Model,
    policies: Annotated[
        str,
        Option(
            help="Policies to compare, by comma: configured, never, every, periodic:SPAN, fixed_thresholds."
        ),
    ] = "configured,never,every,periodic:30d,fixed_thresholds",
    since: Annotated[
        str | None,
        Option("--from", help="Time at which the first model is trained (default: after 30 % of the rows)."),
    ] = None,
    until: AsOf = None,
    full: Annotated[
        bool, Option("--full", help="Train all candidates, and check contracts; slower.")
    ] = False,
    search: Annotated[
        str | None, Option(help="Also search for better settings: grid or random; prints the YAML to paste.")
    ] = None,
    trials: Annotated[int, Option(min=1, max=500, help="Settings that --search tries.")] = 20,
    html: Annotated[Path | None, Option("--html", help="File to write the page to.")] = None,
    json: Json = False,
) -> None:
    """Compare retraining policies on the model's own history."""
    setup = open_model(model)
    result = run_stage(
        "replay",
        model,
        setup=setup,
        policies=policies,
        since=since,
        until=until,
        full=full,
        search=search,
        trials=trials,
    )
    if html is not None:
        _copy_page(setup, result["run_id"], html)
    show({"policies": [], **result}, _print_replay, as_json=json)


_HEAD = ("policy", "mean", "± 95 %", "worst", "retr", "prom", "ref", "alarms", "regret")


def _print_replay(result: dict[str, Any]) -> None:
    """Print the policies, the baseline, which are efficient, and what a search chose."""
    from rich.table import Column, Table

    if not result["policies"]:
        print(f"{result['model']}: {result['state']}")
        print_reasons(result)
        return
    policies = [*result["policies"], *([result["baseline"]] if result["baseline"] else [])]
    title = f"{result['model']}: {policies[0]['metric']} from {result['start']} on"
    columns = (Column(name, no_wrap=True) for name in _HEAD)
    table = Table(*columns, title=title, box=None, padding=(0, 1))
    for policy in policies:
        table.add_row(*_cells(policy))
    console_of_stdout().print(table, highlight=False)
    accuracies = [f"{one['policy']} {one['accuracy']:.3f}" for one in policies if one.get("accuracy")]
    if accuracies:
        print(f"accuracy: {', '.join(accuracies)}")
    front = [one["policy"] for one in result["pareto"] if one["front"]]
    print(f"No other policy is both better and cheaper than: {', '.join(front)}")
    for line in result["notes"]:
        print(f"{line['code']}: {line['message']}")
    if result.get("search"):
        _print_search(result["search"])
    if result.get("run_url"):
        print(f"page: {result['run_url']}")


def _cells(policy: dict[str, Any]) -> list[str]:
    low, high = policy["mean_interval"]
    half = None if low is None or high is None else (high - low) / 2
    counts = [str(policy[name]) for name in ("retrainings", "promotions", "refused", "alarms")]
    numbers = [_number(value) for value in (policy["mean"], half, policy["worst"])]
    return [policy["policy"], *numbers, *counts, _number(policy["regret"])]


def _print_search(search: dict[str, Any]) -> None:
    print(f"\nSettings chosen on the time before {search['unseen_from']}, and how they did after it:")
    for one in search["chosen"]:
        later = one["unseen_part"] or {}
        print(
            f"{one['policy']}: mean {_number(later.get('mean'))}, {later.get('retrainings')} retrainings\n"
            f"{one['yaml'].rstrip()}"
        )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def _copy_page(setup: Setup, run_id: str, path: Path) -> None:
    from evergreen.tasks.io.mlflow_store.tracking import open_tracker

    page = Path(open_tracker(setup.stores).client.download_artifacts(run_id, "replay.html"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    note(f"Wrote {path}.")


def due(model: OptionalModel = None, json: Json = False) -> None:
    """List what asks for a retraining and what forbids it. Reads only."""
    from evergreen.tasks.data import open_source_of
    from evergreen.tasks.io.config import list_models, shown_path
    from evergreen.tasks.io.retraining import due_now

    names = [model] if model else list_models(read_settings().config_dir)
    setups = [open_model(name, reads_only=True) for name in names]
    if not setups:
        folder = shown_path(read_settings().config_dir)
        raise InputError(f"There is no YAML file of a model in {folder}/. Write one by 'evergreen init'.")
    results = [due_now(setup, source=open_source_of(setup)) for setup in setups]
    if model:
        show(results[0], _print_due, as_json=json)
        return
    states = {result["state"] for result in results}
    worst = next(state for state in ("Due", "Blocked", "InsufficientData") if state in states)
    fleet = {"state": worst, "model": f"{len(results)} models", "reasons": [], "models": results}
    show(fleet, _print_due, as_json=json)


def _print_due(result: dict[str, Any]) -> None:
    for one in result.get("models", [result]):
        print(f"{one['model']}: {one['state']}")
        print_reasons(one)
        for trigger in one["triggers"]:
            mark, word = ("DUE ", "since") if trigger["due"] else ("wait", "next on")
            when = f", {word} {trigger['due_at']}" if trigger["due_at"] else ""
            print(short_times(f"  {mark} {trigger['trigger']}: {trigger['said'].rstrip('.')}{when}."))
        _print_next(one)


def pause(model: Model, reason: ReasonText, json: Json = False) -> None:
    """Forbid every retraining of a model until it is resumed."""
    from evergreen.tasks.io.retraining import pause_retraining

    result = pause_retraining(open_model(model), why=reason)
    show(result, result["reasons"][0]["message"], as_json=json)


def resume(model: Model, reason: ReasonText = "", json: Json = False) -> None:
    """Allow retrainings again after a pause."""
    from evergreen.tasks.io.retraining import resume_retraining

    result = resume_retraining(open_model(model), why=reason)
    show(result, result["reasons"][0]["message"], as_json=json)
