"""Commands about traffic: traffic show, set, ramp, stop."""

from __future__ import annotations

import json as json_module
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evergreen.deployments.cli.options import DryRun, Json, Model, ReasonText
from evergreen.deployments.cli.output import clean, open_model
from evergreen.tasks.core.errors import InputError

if TYPE_CHECKING:
    from datetime import timedelta


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    group = typer.Typer(
        name="traffic",
        help="Who answers: share traffic among versions, let shadows score along, ramp a canary up, stop it.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command("show")(show)
    group.command("set")(set_)
    group.command("ramp")(ramp)
    group.command("stop")(stop)
    app.add_typer(group)


def show(model: Model, json: Json = False) -> None:
    """Show who answers and who scores along, the ramp, and why; reads only."""
    from evergreen.tasks.io.traffic import show_traffic

    _print_traffic(show_traffic(open_model(model)), as_json=json)


def set_(
    model: Model,
    challenger: Annotated[
        list[str] | None,
        typer.Option(
            help="[NAME=]VERSION[*WEIGHT][+VERSION[*WEIGHT]...]@SHARE, e.g. 8@10% or blend=7*0.3+8*0.7@5%; "
            "may be repeated."
        ),
    ] = None,
    shadow: Annotated[
        list[str] | None,
        typer.Option(help="Likewise; scores along and is logged, never answers. Default share: 100%."),
    ] = None,
    why: ReasonText = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Set who answers beside the champion and who scores along, in place of all before."""
    from evergreen.tasks.io.traffic import set_variants

    result = set_variants(
        open_model(model), challengers=challenger or [], shadows=shadow or [], why=why, dry_run=dry_run
    )
    _print_traffic(result, as_json=json)


def ramp(
    model: Model,
    canary: Annotated[
        str, typer.Argument(metavar="CANARY", help="Version, alias or ensemble, e.g. 8 or challenger.")
    ],
    steps: Annotated[
        str | None, typer.Option(help="Shares by comma, e.g. 1%,5%,25%,50% (default: traffic.steps).")
    ] = None,
    min_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows the canary answers in a step (default: traffic.min_rows).")
    ] = None,
    min_time: Annotated[
        str | None, typer.Option(help="Shortest step, e.g. 10m (default: traffic.min_time).")
    ] = None,
    why: ReasonText = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Ramp a canary up, step by step; a guardrail that trips sends everything back to the champion by itself."""
    from evergreen.tasks.core.traffic.variant import parse_steps
    from evergreen.tasks.io.traffic import ramp_variant

    result = ramp_variant(
        open_model(model),
        canary=canary,
        steps=parse_steps(steps) if steps else None,
        min_rows=min_rows,
        min_time=_duration(min_time) if min_time else None,
        why=why,
        dry_run=dry_run,
    )
    _print_traffic(result, as_json=json)


def stop(model: Model, why: ReasonText, dry_run: DryRun = False, json: Json = False) -> None:
    """Send everything back to the champion; shadows go on."""
    from evergreen.tasks.io.traffic import stop_variants

    _print_traffic(stop_variants(open_model(model), why=why, dry_run=dry_run), as_json=json)


def _duration(text: str) -> timedelta:
    from datetime import timedelta

    from evergreen.tasks.core.config.units import parse_duration

    try:
        return timedelta(seconds=parse_duration(text).amount)
    except ValueError as error:
        raise InputError(f"Duration '{text}' of --min-time cannot be read: {error}") from error


def _print_traffic(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json_module.dumps(clean(result)))
        return
    print(f"{result['model']}: {result['state']}{' (dry run)' if result['dry_run'] else ''}")
    for reason in result["reasons"]:
        print(f"  {reason['code']}: {reason['message']}")
    for one in result["traffic"]["variants"]:
        print(f"  {one['role']:<10} {one['share']:>7.2%}  {one['name']} ({one['label']})")
    going = result["traffic"]["ramp"]
    if going is not None:
        steps = ", ".join(f"{step:.2%}" for step in going["steps"])
        print(
            f"  ramp of '{going['arm']}' at step {going['step'] + 1} of {len(going['steps'])} ({steps}), each at "
            f"least {going['min_rows']} rows and {going['min_seconds']:.0f} s"
        )
