"""How the log's writer meets a database that fails: again for a while, then each put is told."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from tasks.core.errors import InputError, Unreachable
from tasks.core.redact import without_credentials
from tasks.io.log_batch import Interfered, Put, write_batch
from tasks.io.log_store import LogStore

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.5


class PatientStore:
    """Writes batches to a store that may fail.

    Parameters
    ----------
    store : LogStore
        Where to.
    patience : float
        Seconds a batch is tried again while the database fails. As long as it stays down, later batches are tried once:
        else a queue of them would take hours to fail.

    Attributes
    ----------
    down : bool
        Whether the last try, or the last look, failed.
    retries : int
        Tries that failed or met another writer.
    """

    def __init__(self, store: LogStore, *, patience: float) -> None:
        self._store, self._patience = store, patience
        self.down, self.retries = False, 0

    def write(self, puts: Sequence[Put], *, at: Callable[[], str]) -> list[Any]:
        """Return what each put's future gets; what nobody can write becomes that put's exception, and only its."""
        try:
            return self._try(puts, at)
        except self._store.unfit as error:
            self._store.drop()
            if len(puts) == 1:
                logger.error("The log cannot hold a request: %s", type(error).__name__)
                return [_unfit(error)]
        except self._store.failures as error:
            logger.error("%d requests were not written to the log: %s", len(puts), _said(error))
            return [_unwritten(error)] * len(puts)
        except Exception as error:  # handed to whoever put it; the thread that serves all others lives on
            self._store.drop()
            if len(puts) == 1:
                where = "".join(traceback.format_tb(error.__traceback__))
                logger.error("A request was not written to the log: %s\n%s", type(error).__name__, where)
                return [error]
        return [result for put in puts for result in self.write([put], at=at)]

    def look(self, *, at: Callable[[], str]) -> None:
        """See whether the database takes rows while there are none, so that ``down`` stays true to it.

        While it is up an empty transaction is enough, which costs it next to nothing; while it is down a write that is
        taken back, since a database may answer and take nothing: a standby, a full disk, a right that was withdrawn.
        """
        for _ in range(1 if self.down else 2):  # a connection that was cut while idle is made anew
            try:
                if self.down:
                    self._store.prove(at=at())
                else:
                    self._store.begin()
                    self._store.commit()
            except (
                Exception
            ) as error:  # whatever it is, no request is to blame; the thread that asks lives on
                self._store.drop()
                said = _said(error)
            else:
                if self.down:
                    logger.warning("The log takes rows again.")
                self.down = False
                return
        if not self.down:
            logger.error("The log does not answer: %s", said)
        self.down = True

    def close(self) -> None:
        """Close the connection."""
        self._store.drop()

    def _try(self, puts: Sequence[Put], at: Callable[[], str]) -> list[Any]:
        """Write, again and again while the database fails and patience lasts."""
        deadline = time.monotonic() + (0.0 if self.down else self._patience)
        pause, look = _FIRST_PAUSE, False
        while True:
            try:
                results = write_batch(self._store, puts, at=at(), look=look)
            except Interfered:
                self._store.drop()
                self.retries += 1
            except self._store.unfit:
                raise
            except self._store.failures as error:
                self._store.drop()
                self.retries += 1
                self.down = True
                if time.monotonic() + pause > deadline:
                    raise
                logger.warning("The log does not take a batch (%s); trying again.", _said(error))
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.down = False
                return results
            look = True


def _unwritten(error: Exception) -> Unreachable:
    """Return what whoever put it gets: the kind alone, since the driver's words name hosts, sockets and files."""
    kind = type(error).__name__
    return Unreachable(f"The log did not take the request ({kind}). Try again; the same id may be used.")


def _unfit(error: Exception) -> InputError:
    """Return what whoever put it gets, by kind alone as well."""
    kind = type(error).__name__
    return InputError(
        f"The log cannot hold a value of this request ({kind}), so it was not written. Correct the value; numbers must "
        "fit into 64 bits."
    )


def _said(error: Exception) -> str:
    """Return the driver's first line: those after it may quote what a client sent."""
    return without_credentials((str(error).strip() or type(error).__name__).splitlines()[0])
