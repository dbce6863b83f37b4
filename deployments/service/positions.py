"""Where served rows stand on the model's clock: when they say they happened, else now."""

from __future__ import annotations

import time
from collections.abc import Callable

from evergreen.deployments.service.errors import RequestProblem
from evergreen.tasks.core.serving.batch import Batch


class EventTimes:
    """Gives rows their positions.

    Parameters
    ----------
    clock : str
        ``timestamp``: now, in seconds since 1970. ``rows``: the next number. ``seconds`` since any start: only the
        client knows.
    newest : float or None
        Position of the newest row in the log; numbers of rows go on after it.
    column : str or None
        The clock's column, for messages.
    now : callable
        The time.
    """

    def __init__(
        self, clock: str, *, newest: float | None, column: str | None, now: Callable[[], float] = time.time
    ) -> None:
        self._clock, self._column, self._now = clock, column, now
        self._next = 0.0 if newest is None else newest + 1.0

    def of(self, batch: Batch) -> list[float]:
        """Return each row's position.

        Raises
        ------
        Problem
            422 where only the client can know it, and does not say.
        """
        default = self._default(batch.n)
        if batch.at is None:
            if default is None:
                raise self._unknown()
            return default
        if default is None and None in batch.at:
            raise self._unknown()
        return [own if own is not None else default[row] for row, own in enumerate(batch.at)]  # type: ignore[index]

    def now(self, *, field: str) -> float:
        """Return the present on the model's clock: the place of the newest row where rows are counted.

        Raises
        ------
        Problem
            422 where only the client can know it.
        """
        if self._clock == "timestamp":
            return self._now()
        if self._clock == "seconds":
            raise self._unknown(field)
        return max(self._next - 1.0, 0.0)

    def _default(self, n: int) -> list[float] | None:
        if self._clock == "timestamp":
            return [self._now()] * n
        if self._clock == "seconds":
            return None
        first, self._next = self._next, self._next + n
        return [first + row for row in range(n)]

    def _unknown(self, field: str | None = None) -> RequestProblem:
        field = field or self._column or "at"
        return RequestProblem(
            422,
            "missing_time",
            f"The model's clock counts seconds since a start that only the client knows. Send '{field}'.",
            field=field,
        )
