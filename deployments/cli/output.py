"""What a command prints: one JSON object on stdout, or a short text for people; all else goes to stderr."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import pkgutil
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evergreen.deployments.servers import join_temporary_server, joined, prefect_answers, read_servers
from evergreen.tasks.core.errors import Blocked, EvergreenError, InputError, NotLearnable
from evergreen.tasks.core.redact import redacted, without_credentials
from evergreen.tasks.core.verdict import Reason, State
from evergreen.tasks.io.settings import Settings, read_settings

if TYPE_CHECKING:
    from rich.console import Console

    from evergreen.tasks.io.setup import Setup

_FACTS = ("metric", "verdict", "test", "difference", "interval", "n", "blocks", "alpha_left", "run_url")
"""What is shown of a stage's result to people, where it is there."""


def note(message: str) -> None:
    """Tell a person what is going on, on stderr."""
    print(message, file=sys.stderr, flush=True)


def show(result: dict[str, Any], text: str | Callable[[dict[str, Any]], None], *, as_json: bool) -> None:
    """Print a result: one JSON object; for people the text, or what a function prints of the result."""
    if as_json:
        print(json.dumps(clean(result), default=str, allow_nan=False))
    elif isinstance(text, str):
        print(text)
    else:
        text(result)


_WIDE = 10_000
"""Columns of what is no terminal: more than any table needs."""


def console_of_stdout(*, width: int | None = None) -> Console:
    """Return where tables are printed: of a terminal's width (or ``width``), and without a limit in a pipe or file."""
    from rich.console import Console

    return Console(width=width if sys.stdout.isatty() else _WIDE)


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Print a stage's result."""
    show(result, _print_stage, as_json=as_json)


def _print_stage(result: dict[str, Any]) -> None:
    from rich.table import Table

    console = console_of_stdout()
    version = f" version {result['version']}" if result.get("version") else ""
    console.print(f"[bold]{result['model']}[/bold]{version}: [bold]{result['state']}[/bold]", highlight=False)
    print_reasons(result)
    facts = Table(show_header=False, box=None, padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for key in _FACTS:
        if result.get(key) is not None:
            facts.add_row(key, _text(result[key]))
    for name, value in (result.get("metrics") or {}).items():
        baseline = (result.get("baseline") or {}).get(name)
        facts.add_row(name, _text(value) + (f"   baseline {_text(baseline)}" if baseline is not None else ""))
    console.print(facts)


def print_reasons(result: dict[str, Any]) -> None:
    """Print the reasons of a result, a line each."""
    for reason in result.get("reasons", []):
        print(f"  {reason['code']}: {reason['message']}")


def print_error(error: EvergreenError, *, as_json: bool) -> None:
    """Print one clear sentence on stderr; with ``--json`` also the object on stdout."""
    note(str(error))
    if as_json:
        state, reason = _ending(error)
        print(json.dumps({"state": state.value, "reasons": [clean(reason.to_dict())]}))


def _ending(error: EvergreenError) -> tuple[State, Reason]:
    """Return the state and the reason of what a command raised; a refusal is a decision, not a failure."""
    if isinstance(error, NotLearnable):
        return State.INSUFFICIENT_DATA, Reason.from_error(error)
    if isinstance(error, Blocked):
        return State.BLOCKED, Reason(code=error.reason_code, message=str(error))
    state = State.INPUT_ERROR if isinstance(error, InputError) else State.FAILED
    return state, Reason(code=error.code, message=str(error))


def clean(value: Any) -> Any:
    """Return a JSON-safe copy: NaN and infinities become null, numpy numbers become plain ones."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def short_times(text: str) -> str:
    """Return a text whose times (ISO 8601, UTC) are shown to the second.

    >>> short_times("since 2026-12-28T23:19:55.389435+00:00")
    'since 2026-12-28 23:19:55 UTC'
    """
    return re.sub(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(?:\.\d+)?\+00:00", r"\1 \2 UTC", text)


def alarm_lines(alarms: list[dict[str, Any]]) -> list[str]:
    """Return a line for each open alarm: its level, what is wrong, since when."""
    lines = (f"{a['level']:8} {a['name']} ({a['kind']}): {a['said']}, since {a['since']}" for a in alarms)
    return [short_times(line) for line in lines]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_text(item) for item in value) + "]"
    return str(value)


# What a command opens before it does anything.


def open_model(model: str, *, reads_only: bool = False) -> Setup:
    """Read a model's configuration and check that its stores' servers answer, before anything starts or is written.

    Imported here, not above: what reads configurations and databases costs more than all of ``--help``.

    Parameters
    ----------
    model : str
        A configured model's name, or the path of its YAML file.
    reads_only : bool
        Where the home or an embedded database does not exist, read an empty one that is gone when the command ends.

    Raises
    ------
    InputError
        When the file is missing or a value in it is wrong.
    Unreachable
        When a server of a store refuses the connection.
    """
    from evergreen.tasks.io.databases import reach_servers
    from evergreen.tasks.io.setup import Stores, open_setup

    setup = open_setup(model)
    absent = _absent_stores(setup.settings) if reads_only else []
    if absent:
        empty = tempfile.TemporaryDirectory(prefix="evergreen-")
        atexit.register(empty.cleanup)
        urls: dict[str, Any] = {name: f"sqlite:///{empty.name}/{name}.db" for name in absent}
        home = Path(empty.name) if urls.pop("home", None) else setup.settings.home
        settings = replace(setup.settings, home=home, **urls)
        setup = replace(setup, settings=settings, stores=Stores(settings))
    reach_servers(setup.settings)
    return setup


def _absent_stores(settings: Settings) -> list[str]:
    """Return which of the home and the SQLite files of ledger and log do not exist yet."""
    from evergreen.tasks.io.databases import sqlite_path

    paths = {"home": settings.home, "ledger_url": sqlite_path(settings.ledger_url)}
    paths["log_url"] = sqlite_path(settings.log_url)
    return [name for name, path in paths.items() if path is not None and not path.exists()]


# Where a command runs its flows: a running Prefect server when there is one, else a temporary one.


def find_prefect(settings: Settings | None = None) -> bool:
    """Point Prefect, before it is imported, at a running server.

    Returns
    -------
    bool
        Whether one answers.
    """
    settings = settings or read_settings()
    quiet_environment(settings)
    servers = read_servers(settings.home)
    if "mlflow" in servers:
        os.environ.setdefault("EVERGREEN_MLFLOW_UI", servers["mlflow"]["ui"])
    url = os.environ.get("PREFECT_API_URL") or servers.get("prefect", {}).get("api")
    if url and url not in joined and prefect_answers(url):
        os.environ["PREFECT_API_URL"] = url
        return True
    return False


def prepare_prefect(settings: Settings | None = None) -> bool:
    """Point Prefect at a server before it is imported.

    Returns
    -------
    bool
        True when a running server answers, False when a temporary one was started, or joined.

    Raises
    ------
    EvergreenError
        When ``PREFECT_API_URL`` names one that does not answer.
    """
    if _find_named_prefect(settings):
        return True
    settings = settings or read_settings()
    settings.make_home()
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    note(
        "No Prefect server is running: starting a temporary one (about 20 s).\n'evergreen up' makes commands faster."
    )
    os.environ["PREFECT_API_URL"] = join_temporary_server(settings.home)
    return False


def require_prefect(why: str, settings: Settings | None = None) -> None:
    """Point Prefect at a running server; where none runs, a temporary one would not do.

    Parameters
    ----------
    why : str
        What needs it and that none is running, a sentence.
    settings : Settings, optional
        Those of this machine by default.

    Raises
    ------
    InputError
        When no server runs.
    EvergreenError
        When ``PREFECT_API_URL`` names one that does not answer.
    """
    if not _find_named_prefect(settings):
        raise InputError(f"{why} Start one by 'evergreen up'.")


def _find_named_prefect(settings: Settings | None) -> bool:
    """Find a running server; one that ``PREFECT_API_URL`` names must answer."""
    if find_prefect(settings):
        return True
    url = os.environ.get("PREFECT_API_URL")
    if url and url not in joined:
        raise EvergreenError(
            f"PREFECT_API_URL names {redacted(url)}, but nothing answers there. Start that server, or unset the "
            "variable to use the one 'evergreen up' starts."
        )
    return False


def run_stage(
    flow: str, model: str, *, setup: Setup | None = None, approves: bool = False, **options: Any
) -> dict[str, Any]:
    """Run a flow of a model after its configuration was read, so that a wrong key costs no server.

    Parameters
    ----------
    flow : str
        ``module:function`` in ``evergreen.flows``, or the one name of both.
    model : str
        A configured model's name, or the path of its YAML file.
    setup : Setup, optional
        The model, where it was opened before.
    approves : bool
        Whether the flow may ask a person to approve a promotion, which needs a server that stays.
    **options
        The flow's other parameters.

    Raises
    ------
    InputError
        When a person is to approve and no server runs; else as `run_flow`.
    """
    setup = setup or open_model(model)
    if approves and setup.config.promotion.approval == "manual":
        require_prefect(
            f"promotion.approval of '{setup.model}' is manual, so the question whether to promote needs a running "
            "Prefect server.",
            setup.settings,
        )
    else:
        prepare_prefect(setup.settings)
    path = flow if ":" in flow else f"{flow}:{flow}"
    return run_flow(f"evergreen.flows.{path}", {"model": model, **options})


def run_flow(flow_path: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run a flow in this process and return its result.

    Parameters
    ----------
    flow_path : str
        ``module:function`` of the flow.
    parameters : dict
        Its parameters.

    Raises
    ------
    InputError
        When the flow ended Failed under that name.
    EvergreenError
        When the flow failed or crashed.
    """
    with contextlib.redirect_stdout(sys.stderr):
        flow = pkgutil.resolve_name(flow_path)
        with failures_off_console(), without_heartbeat():
            state = flow(**parameters, return_state=True)
        if state.is_completed():
            return dict(state.result())
        outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, EvergreenError):
        raise outcome
    if isinstance(outcome, BaseException):  # a bug or a broken machine: the whole traceback is of use
        note(without_credentials("".join(traceback.format_exception(outcome))))
    kind = InputError if state.name == "InputError" else EvergreenError
    why = " ".join(without_credentials(str(state.message or outcome)).split()).rstrip(".")
    raise kind(f"{flow_path.partition(':')[2]} ended {state.name}: {why}.")


def without_heartbeat() -> contextlib.AbstractContextManager[None]:
    """Switch off the heartbeat of runs that last as long as a command: its thread costs each of them a second."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None:  # setting it again would check all of Prefect's
        return contextlib.nullcontext()
    return temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})  # type: ignore[return-value]


@contextlib.contextmanager
def failures_off_console() -> Iterator[None]:
    """Keep failures of runs off the console: the command itself says what went wrong, once.

    Prefect would log each of them again for the task and for the flow, with a traceback. Its own pages show them.
    """
    handlers = logging.getLogger().handlers
    for handler in handlers:
        handler.addFilter(_is_no_failed_run)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_is_no_failed_run)


def _is_no_failed_run(record: logging.LogRecord) -> bool:
    runs = ("prefect.flow_runs", "prefect.task_runs")
    return record.levelno < logging.ERROR or not record.name.startswith(runs)


def quiet_environment(settings: Settings) -> None:
    """Set what keeps local runs short, offline and in one folder; what a person set stays."""
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)  # it would log how much is left to send
    for name, value in {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    }.items():
        os.environ.setdefault(name, value)
