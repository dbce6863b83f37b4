"""Where a command runs its flows: a running Prefect server when there is one, else a temporary one."""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deployments.cli.output import note, quiet_stdout
from deployments.servers import prefect_answers, read_servers
from tasks.core.errors import EvergreenError, InputError
from tasks.core.redact import redacted, without_credentials
from tasks.io.settings import Settings, read_settings


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
    if url and prefect_answers(url):
        os.environ["PREFECT_API_URL"] = url
        return True
    return False


def prepare_prefect(settings: Settings | None = None) -> bool:
    """Point Prefect at a server before it is imported.

    Returns
    -------
    bool
        True when a running server answers, False when a temporary one will be started.

    Raises
    ------
    EvergreenError
        When ``PREFECT_API_URL`` names one that does not answer.
    """
    if find_prefect(settings):
        return True
    if url := os.environ.get("PREFECT_API_URL"):
        raise EvergreenError(
            f"PREFECT_API_URL names {redacted(url)}, but nothing answers there. Start that server, or unset the "
            "variable to use the one 'evergreen up' starts."
        )
    os.environ["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "true"
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    note("No Prefect server is running: starting a temporary one (about 20 s; 'evergreen up' keeps one).")
    return False


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
    module_name, function_name = flow_path.split(":")
    with quiet_stdout():
        module = __import__(module_name, fromlist=[function_name])
    with quiet_stdout(), said_once(), without_heartbeat():
        state = getattr(module, function_name)(**parameters, return_state=True)
        if state.is_completed():
            return dict(state.result())
        outcome = state.result(raise_on_failure=False)
    if isinstance(outcome, EvergreenError):
        raise outcome
    if isinstance(outcome, BaseException):  # a bug or a broken machine: said in full
        note(without_credentials("".join(traceback.format_exception(outcome))))
    kind = InputError if state.name == "InputError" else EvergreenError
    why = " ".join(without_credentials(str(state.message or outcome)).split()).rstrip(".")
    raise kind(f"{function_name} ended {state.name}: {why}.")


@contextlib.contextmanager
def without_heartbeat() -> Iterator[None]:
    """Switch off the heartbeat of runs that last as long as a command: its thread costs each of them a second."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    if (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
    ):  # to set it again would check all of Prefect's settings
        yield
        return
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield


@contextlib.contextmanager
def said_once() -> Iterator[None]:
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
    return record.levelno < logging.ERROR or not record.name.startswith(
        ("prefect.flow_runs", "prefect.task_runs")
    )


def quiet_environment(settings: Settings) -> None:
    """Set what keeps local runs short, offline and in one folder; what a person set stays."""
    logging.getLogger("EventsWorker").setLevel(
        logging.ERROR
    )  # it counts aloud what is left to send at the end
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
