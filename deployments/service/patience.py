"""How long a client may take to send its request: one clock for all, for a timer each costs more than reading."""

from __future__ import annotations

import asyncio

_SWEEP_S = 0.25


class Patience:
    """Interrupts who reads for too long.

    Use it around what waits for a client::

        task = patience.begin(seconds)
        try: ...
        except asyncio.CancelledError:
            if patience.is_over(task): ...
            raise
        finally:
            patience.end(task)
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadlines: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)

    def begin(self, seconds: float) -> asyncio.Task[object]:
        """Begin to wait in this task, for so long."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._deadlines[task] = self._loop.time() + seconds
        return task

    def is_over(self, task: asyncio.Task[object]) -> bool:
        """Return True, once, for a task that was interrupted here and not by anybody else."""
        if task not in self._late:
            return False
        task.uncancel()
        return True

    def end(self, task: asyncio.Task[object]) -> None:
        """Wait no longer."""
        self._deadlines.pop(task, None)
        self._late.discard(task)

    def close(self) -> None:
        """Stop the clock."""
        self._timer.cancel()

    def _sweep(self) -> None:
        now = self._loop.time()
        for task in [task for task, deadline in self._deadlines.items() if deadline < now]:
            del self._deadlines[task]
            self._late.add(task)
            task.cancel()
        self._timer = self._loop.call_later(_SWEEP_S, self._sweep)
