"""The command about alerts: what is open, and whether the channels work."""

from __future__ import annotations

import json as json_module
from typing import Annotated, Any

import typer

from deployments.cli.output import alarm_lines, clean
from deployments.cli.session import find_prefect, prepare_prefect
from deployments.cli.stages import Json, Model
from tasks.core.errors import InputError
from tasks.io.setup import Setup, open_setup
from tasks.io.store_checks import reach_servers

Test = Annotated[bool, typer.Option("--test", help="Send a test message to every channel of alerts.notify.")]

Deliver = Annotated[
    bool, typer.Option("--deliver", help="Tell channels and automations now what they were not told yet.")
]


def add_commands(app: typer.Typer) -> None:
    """Register this module's command."""
    app.command()(alert)


def alert(model: Model, test: Test = False, deliver: Deliver = False, json: Json = False) -> None:
    """Show what is open; --test sends a test message to every channel, --deliver what waits to be told."""
    if test and deliver:
        raise InputError("--test and --deliver are two things; give one of them.")
    setup = open_setup(model)
    if (test or deliver) and any(not name.startswith("env:") for name in setup.config.alerts.notify):
        prepare_prefect(setup.settings)  # where the blocks are
    result = _try_out(setup) if test else _deliver(setup) if deliver else _open(setup)
    if json:
        print(json_module.dumps(clean(result)))
    else:
        _show(result)
    raise typer.Exit(1 if result["state"] == "Failed" else 0)


def _try_out(setup: Setup) -> dict[str, Any]:
    from tasks.alert import send_test

    answers = send_test(setup)
    reasons = [
        {
            "code": "alert_not_delivered",
            "message": f"{a['channel']}: {a['message']}",
            "observed": a["channel"],
        }
        for a in answers
        if not a["arrived"]
    ]
    state = "Failed" if reasons else "Delivered"
    reasons = [{**reason, "limit": None} for reason in reasons]
    return {"state": state, "model": setup.model, "reasons": reasons, "channels": answers}


def _deliver(setup: Setup) -> dict[str, Any]:
    automations = find_prefect(setup.settings)  # where none runs, they are told by the next run that has one
    from tasks.alert import deliver_alerts

    reasons = [reason.to_dict() for reason in deliver_alerts.fn(setup, automations=automations)]
    failed = any(reason["code"] == "alert_not_delivered" for reason in reasons)
    return {"state": "Failed" if failed else "Delivered", "model": setup.model, "reasons": reasons}


def _open(setup: Setup) -> dict[str, Any]:
    from tasks.io.alert_entries import open_alarms

    reach_servers(setup.settings)
    alarms = open_alarms(setup.stores.ledger, setup.model)
    state = "Open" if alarms else "Quiet"
    return {
        "state": state, "model": setup.model, "reasons": [], "open": alarms, "notify": setup.config.alerts.notify,
    }  # fmt: skip


def _show(result: dict[str, Any]) -> None:
    print(f"{result['model']}: {result['state']}")
    for answer in result.get("channels", []):
        print(f"  {'arrived ' if answer['arrived'] else 'FAILED  '} {answer['channel']}: {answer['message']}")
    for reason in result["reasons"] if "channels" not in result else []:
        print(f"  {reason['message']}")
    for line in alarm_lines(result.get("open", [])):
        print(f"  {line}")
    if "open" in result and not result["notify"]:
        print("  alerts.notify is empty: nobody is told.")
