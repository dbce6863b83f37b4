"""Commands about live traffic: traffic show, set, ramp, stop; ab create, status, conclude, abort."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer import Argument, Option

from evergreen.deployments.cli.options import DryRun, Json, Model, ReasonText, add_group, read_duration
from evergreen.deployments.cli.output import open_model, print_reasons, print_result, run_stage, show
from evergreen.tasks.core.errors import unknown_name

TestName = Annotated[str | None, Option("--name", help="Name of the test (default: the one that runs).")]


def add_commands(app: typer.Typer) -> None:
    """Register this module's commands."""
    add_group(
        app,
        "traffic",
        {"show": show_traffic, "set": set_traffic, "ramp": ramp, "stop": stop},
        summary="Share live traffic among versions, or ramp a canary up.",
    )
    add_group(
        app,
        "ab",
        {"create": create, "status": status, "conclude": conclude, "abort": abort},
        summary="Test a challenger on live traffic. Look at the results at any time.",
    )


def show_traffic(model: Model, json: Json = False) -> None:
    """Show which versions answer, which are shadows, and the ramp; reads only."""
    from evergreen.tasks.io import traffic

    show(traffic.show_traffic(open_model(model, reads_only=True)), _print_traffic, as_json=json)


def set_traffic(
    model: Model,
    challenger: Annotated[
        list[str] | None,
        Option(
            help="A version that answers a share of the requests: [NAME=]VERSION[*WEIGHT][+VERSION[*WEIGHT]...]@SHARE, "
            "e.g. 8@10% or blend=7*0.3+8*0.7@5%; may be repeated."
        ),
    ] = None,
    shadow: Annotated[
        list[str] | None,
        Option(
            help="A version that scores the same rows and is logged, but never answers; written like --challenger. "
            "Default share: 100%."
        ),
    ] = None,
    reason: ReasonText = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Replace all challengers and shadows by those you name."""
    from evergreen.tasks.io.traffic import set_variants

    variants = {"challengers": challenger or [], "shadows": shadow or []}
    result = set_variants(open_model(model), **variants, why=reason, dry_run=dry_run)
    show(result, _print_traffic, as_json=json)


def ramp(
    model: Model,
    canary: Annotated[str, Argument(metavar="CANARY", help="Version, alias or ensemble, e.g. 8.")],
    steps: Annotated[str | None, Option(help="Shares, e.g. 1%,5%,25%,50% (default: traffic.steps).")] = None,
    min_rows: Annotated[
        int | None, Option(min=1, help="Rows the canary answers in a step (default: traffic.min_rows).")
    ] = None,
    min_time: Annotated[
        str | None, Option(help="Shortest step, e.g. 10m (default: traffic.min_time).")
    ] = None,
    reason: ReasonText = "",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Raise a canary's share in steps; a tripped guardrail stops it by itself."""
    from evergreen.tasks.core.traffic.variant import parse_steps
    from evergreen.tasks.io.traffic import ramp_variant

    result = ramp_variant(
        open_model(model),
        canary=canary,
        steps=parse_steps(steps) if steps else None,
        min_rows=min_rows,
        min_time=read_duration(min_time, option="--min-time") if min_time else None,
        why=reason,
        dry_run=dry_run,
    )
    show(result, _print_traffic, as_json=json)


def stop(model: Model, reason: ReasonText, dry_run: DryRun = False, json: Json = False) -> None:
    """Let the champion answer every request again; shadows go on."""
    from evergreen.tasks.io.traffic import stop_variants

    show(stop_variants(open_model(model), why=reason, dry_run=dry_run), _print_traffic, as_json=json)


def _print_traffic(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['state']}{' (dry run)' if result['dry_run'] else ''}")
    print_reasons(result)
    for one in result["traffic"]["variants"]:
        print(f"  {one['role']:<10} {one['share']:>7.2%}  {one['name']} ({one['label']})")
    ramping = result["traffic"]["ramp"]
    if ramping is not None:
        steps = ", ".join(f"{step:.2%}" for step in ramping["steps"])
        print(
            f"  ramp of '{ramping['arm']}' at step {ramping['step'] + 1} of {len(ramping['steps'])} ({steps}), each at "
            f"least {ramping['min_rows']} rows and {ramping['min_seconds']:.0f} s"
        )


def create(
    model: Model,
    challenger: Annotated[int | None, Option(help="Version to test (default: @challenger).")] = None,
    name: Annotated[str | None, Option(help="Name of the test, not used before for this model.")] = None,
    hypothesis: Annotated[str, Option(help="What you expect and why, in a sentence.")] = "",
    mode: Annotated[
        str | None,
        Option(
            help="paired: the challenger is a shadow; arms: it answers (default, unless promotion.evidence is shadow)."
        ),
    ] = None,
    metric: Annotated[str | None, Option(help="A mean over rows or groups (default: live.metric).")] = None,
    share: Annotated[float | None, Option(help="Share the challenger answers (default: live.share).")] = None,
    min_improvement: Annotated[
        float | None, Option(help="Smallest improvement worth finding (default: live.min_improvement).")
    ] = None,
    max_duration: Annotated[
        str | None, Option(help="Longest, e.g. 28d (default: live.max_duration).")
    ] = None,
    alpha: Annotated[
        float | None,
        Option(help="False-positive rate of the whole test (default: a quarter of what is left)."),
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Start a live test: record its plan, spend its alpha, share the traffic."""
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
    show(result, _print_test, as_json=json)


def status(model: Model, name: TestName = None, json: Json = False) -> None:
    """Show a test's results and verdict so far, and what it still needs; reads only."""
    from evergreen.tasks.io.live_tests import show_test

    show(show_test(open_model(model, reads_only=True), name=name), _print_test, as_json=json)


def conclude(
    model: Model,
    end: Annotated[bool, Option("--end", help="End it now, with a clear winner or without.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Analyse the running test and act: go on, promote, keep the champion, or abort."""
    result = run_stage("ab_test", model, end=end, dry_run=dry_run, approves=True)
    print_result({"test": None, "look": None, "conclusion": None, **result}, as_json=json)


def abort(model: Model, reason: ReasonText = "", name: TestName = None, json: Json = False) -> None:
    """End a running test without a winner; the champion answers every request again."""
    from evergreen.tasks.io.live_tests import abort_test

    show(abort_test(open_model(model), why=reason, name=name), _print_test, as_json=json)


def _print_test(result: dict[str, Any]) -> None:
    test = result["test"]
    print(f"{result['model']}, live test {test['test']}: {result['state']}")
    print(f"  {test['hypothesis']}")
    print(f"  {test['metric']}, {test['mode']}, worth finding {test['effect']:g}, alpha {test['alpha']:g}")
    print_reasons(result)
    for one in (result.get("look") or {}).get("challengers", ()):
        still = one["need"]["still"]
        more = f"; about {still} more units for the planned power" if still else ""
        low = "-inf" if one["low"] is None else f"{one['low']:+.4g}"
        high = "inf" if one["high"] is None else f"{one['high']:+.4g}"
        known = one["improvement"]
        effect = "no result yet" if known is None else f"{known:+.4g} [{low}, {high}]"
        print(f"  {one['variant']} (version {one['version']}): {one['verdict']}, {effect}{more}")
