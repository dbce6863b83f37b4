"""Commands about live tests: ab create, status, conclude, abort."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from evergreen.deployments.cli.options import DryRun, Json, Model
from evergreen.deployments.cli.output import clean, open_model, prepare_prefect, print_result, run_flow
from evergreen.tasks.core.errors import InputError, unknown_name

Named = Annotated[str | None, typer.Option("--name", help="Name of the test (default: the one that runs).")]


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    group = typer.Typer(
        name="ab",
        help="Test a challenger on live traffic, beside or instead of the champion; look at any time.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    for command in (create, status, conclude, abort):
        group.command()(command)
    app.add_typer(group)


def create(
    model: Model,
    challenger: Annotated[
        int | None, typer.Option(help="Version (default: the one under @challenger).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the test, once a model.")] = None,
    hypothesis: Annotated[str, typer.Option(help="What you expect and why, in a sentence.")] = "",
    mode: Annotated[
        str | None,
        typer.Option(
            help="paired (a shadow scores along) or arms (it answers; default unless promotion.evidence: shadow)."
        ),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="A mean over rows or groups (default: live.metric).")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Share the challenger answers (default: live.share).")
    ] = None,
    min_improvement: Annotated[
        float | None, typer.Option(help="The improvement worth finding (default: live.min_improvement).")
    ] = None,
    max_duration: Annotated[
        str | None, typer.Option(help="Longest duration, e.g. 28d (default: live.max_duration).")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Level of the whole test (default: a quarter of what is left).")
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Begin a live test of a challenger: write it down, spend its alpha, share the traffic."""
    from evergreen.tasks.ab_test import create_test
    from evergreen.tasks.core.ab_testing.definition import MODES

    if mode is not None and mode not in MODES:
        raise unknown_name("mode", mode, MODES, where="--mode")
    live = {
        "metric": metric,
        "share": share,
        "min_improvement": min_improvement,
        "max_duration": max_duration,
    }
    result = create_test(
        open_model(model),
        challenger=challenger,
        name=name,
        hypothesis=hypothesis,
        mode=mode,
        alpha=alpha,
        live={key: value for key, value in live.items() if value is not None},
        dry_run=dry_run,
    )
    _print_test(result, as_json=json)


def status(model: Model, name: Named = None, json: Json = False) -> None:
    """Show a test's results as of now, with its verdict and what is still needed; reads only."""
    from evergreen.tasks.io.live_tests import show_test

    _print_test(show_test(open_model(model), name=name), as_json=json)


def conclude(
    model: Model,
    end: Annotated[
        bool, typer.Option("--end", help="End it now: promote who has won, else keep the champion.")
    ] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Look at the running test and do what follows: go on, promote, keep, or abort."""
    setup = open_model(model)
    running = prepare_prefect(setup.settings)
    if not running and setup.config.promotion.approval == "manual":
        raise InputError(
            f"promotion.approval of '{setup.model}' is manual: the question needs a running Prefect server. "
            "Start one by 'evergreen up'."
        )
    result = run_flow("evergreen.flows.ab_test:ab_test", {"model": model, "end": end, "dry_run": dry_run})
    print_result({"test": None, "look": None, "conclusion": None, **result}, as_json=json)


def abort(
    model: Model,
    why: Annotated[str, typer.Option("--reason", help="Reason, kept in the ledger.")] = "",
    name: Named = None,
    json: Json = False,
) -> None:
    """End a running test without a winner and send the traffic back to the champion."""
    from evergreen.tasks.io.live_tests import abort_test

    _print_test(abort_test(open_model(model), why=why, name=name), as_json=json)


def _print_test(result: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json_module.dumps(clean(result)))
        return
    test = result["test"]
    print(f"{result['model']}, live test {test['test']}: {result['state']}")
    print(f"  {test['hypothesis']}")
    print(f"  {test['metric']}, {test['mode']}, worth finding {test['effect']:g}, alpha {test['alpha']:g}")
    for reason in result["reasons"]:
        print(f"  {reason['code']}: {reason['message']}")
    for one in (result.get("look") or {}).get("challengers", ()):
        need = one["need"]
        more = "" if not need["still"] else f"; about {need['still']} more units for the planned power"
        low, high = (
            ("-inf", "inf")[place] if one[end] is None else f"{one[end]:+.4g}"
            for place, end in enumerate(("low", "high"))
        )
        known = (
            "nothing is known yet"
            if one["improvement"] is None
            else f"{one['improvement']:+.4g} [{low}, {high}]"
        )
        print(f"  {one['variant']} (version {one['version']}): {one['verdict']}, {known}{more}")
