"""The alarm of a service: kept in the ledger once when it opens and once when it is over, and sent at once."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from deployments.service.loading import reason_of
from tasks.core.health.report import Condition, HealthReport, check
from tasks.health_record import record_health
from tasks.io.setup import Setup

logger = logging.getLogger(__name__)

CHECK = "serving"
"""Name of the check, beside those of monitoring."""


class Alarm:
    """Tells of what a service cannot do.

    Parameters
    ----------
    setup : Setup
        The model.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._told: str | None = ""
        self._telling = threading.Lock()
        self._closed = False

    def tell(self, trouble: str | None, *, version: int | None) -> None:
        """Open the alarm, or close it (None); nothing where it is as it was.

        While the ledger does not answer it is told again at the next look.
        """
        with self._telling:
            if trouble != self._told and not self._closed:
                self._tell(trouble, version=version)

    def close(self, *, timeout: float) -> None:
        """Tell nothing more; what is being told is kept and sent first, within so many seconds."""
        self._closed = True
        if self._telling.acquire(timeout=timeout):
            self._telling.release()
        else:
            logger.error("%s: the ledger took no alarm in %g s", self._setup.model, timeout)

    def _tell(self, trouble: str | None, *, version: int | None) -> None:
        condition = Condition.FAILED if trouble else Condition.OK
        one = check(CHECK, condition, f"{trouble}." if trouble else "The service serves what is wanted.")
        try:
            alert = record_health(self._setup, HealthReport(checks=(one,)), version=version)
        except Exception as error:  # the ledger is away: answering goes on
            logger.warning("%s: the alarm cannot be kept: %s", self._setup.model, reason_of(error))
            return
        self._told = trouble
        if alert.speaks:
            self._deliver()

    def _deliver(self) -> None:
        """Send what is due in a process of its own: channels may be slow, and a service needs no Prefect."""
        command = [
            sys.executable,
            "-m",
            "deployments.cli",
            "alert",
            str(self._setup.path),
            "--deliver",
            "--json",
        ]
        logs = self._setup.settings.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / "alerts.log").open("ab") as out:
            child = subprocess.Popen(
                command,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=_environ(),
            )
        threading.Thread(target=child.wait, name="evergreen-alert", daemon=True).start()


def _environ() -> dict[str, str]:
    """Return this environment, with this code first on the path wherever the service was started."""
    root = str(Path(__file__).resolve().parents[2])
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep),
    }
