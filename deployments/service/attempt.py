"""An attempt to make a version ready: in a thread of its own, which is given up when it takes too long."""

from __future__ import annotations

import threading
from collections.abc import Callable

from deployments.service.live import ServedVersion
from tasks.core.errors import EvergreenError


class TookTooLong(EvergreenError):
    """A version that did not load and answer in time."""

    code = "took_too_long"


class Attempt:
    """Makes a version ready, beside whoever waits for it.

    Parameters
    ----------
    make : callable
        Returns the version, or raises.
    name : str
        The thread's.
    """

    def __init__(self, make: Callable[[], ServedVersion], *, name: str) -> None:
        self._make = make
        self._made: ServedVersion | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def result(self, *, within_s: float) -> ServedVersion:
        """Return the version.

        Raises
        ------
        TookTooLong
            When it is not ready within so many seconds; the thread may go on for ever: none can be ended from outside.
        Exception
            Whatever making it raised.
        """
        self._thread.join(within_s)
        if self._error is not None:
            raise self._error
        if self._made is None:
            raise TookTooLong(
                f"It did not load and answer its own example within {within_s:g} s. Look at what it does when it is "
                "loaded or asked; it is tried again when that has ended, or by a new start of the service."
            )
        return self._made

    def _run(self) -> None:
        try:
            self._made = self._make()
        except SystemExit as error:
            self._error = RuntimeError(f"its code would end the process ({error})")
        except Exception as error:  # of the author's files and code; told to whoever waits
            self._error = error
