"""Put the commands together; one mapping from outcome to exit code."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback
import warnings

import typer
from typer.exceptions import TyperException

from evergreen.deployments.cli import ab, config, models, monitoring, retraining, servers, serving, traffic
from evergreen.deployments.cli.output import note, print_error
from evergreen.deployments.cli.renamed import show_warning, todays_arguments
from evergreen.tasks.core.errors import EvergreenError, InputError
from evergreen.tasks.core.redact import without_credentials

_FIRST = (
    models.add_inspection_commands,
    models.add_stage_commands,
    monitoring.add_monitoring_commands,
    retraining.add_commands,
    monitoring.add_drift_command,
    monitoring.add_alert_command,
    serving.add_batch_command,
    traffic.add_commands,
    ab.add_commands,
    servers.add_commands,
    config.add_commands,
    serving.add_serving_commands,
)
"""What adds the commands, in the order that help lists them."""


def build_app() -> typer.Typer:
    """Return the command: those of above, then of every other file of this folder that has ``add_commands``."""
    whole = typer.Typer(
        name="evergreen",
        help="Keep tabular models good after they ship: train, gate, challenge, promote, roll back.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    for add_commands in _FIRST:
        add_commands(whole)
    known = {add_commands.__module__ for add_commands in _FIRST}
    folder = sys.modules[__name__.rpartition(".")[0]]
    for found in pkgutil.iter_modules(folder.__path__, f"{folder.__name__}."):
        if found.name in known or found.name.endswith((".app", ".__main__")):
            continue
        add = getattr(importlib.import_module(found.name), "add_commands", None)
        if add is not None:
            add(whole)
    return whole


app = build_app()


def main() -> None:
    """Run the command: exit code 0 for any decided outcome, 2 for wrong input, 1 for a failure."""
    warnings.showwarning = show_warning
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code; with ``--json`` stdout holds one object however it ends."""
    as_json = "--json" in arguments
    try:
        return int(app(todays_arguments(arguments), standalone_mode=False) or 0)
    except TyperException as error:
        wrong = InputError(f"{error.format_message().rstrip('.')}. See 'evergreen --help'.")
        print_error(wrong, as_json=as_json)
        return wrong.exit_code
    except EvergreenError as error:
        print_error(error, as_json=as_json)
        return error.exit_code
    except KeyboardInterrupt:
        note(
            "Interrupted; nothing that was promised is lost. 'evergreen reconcile MODEL' settles an open plan."
        )
        return 130
    except Exception as error:  # a bug or a broken machine: exit code 1, said in full
        note(without_credentials(traceback.format_exc()))
        what = " ".join(without_credentials(f"{type(error).__name__}: {error}").split()).rstrip(".")
        print_error(EvergreenError(f"{what}."), as_json=as_json)
        return 1
