"""What every log of predictions does."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Protocol

from tasks.core.data.clock import Window
from tasks.core.metrics.scored import FloatArray
from tasks.io.log_records import KnownOutcome, LoggedRows, Prediction
from tasks.io.served import ShadowScore


class PredictionLog(Protocol):
    """What every log of predictions does; one contract suite runs on each of them."""

    def append_predictions(self, model: str, served: Iterable[Prediction], *, at: datetime) -> int:
        """Write predictions that are not there yet; return how many those were.

        Raises
        ------
        InputError
            Naming the first id that is there with another content; what came before it may be written.
        """

    def append_outcomes(self, model: str, known: Iterable[KnownOutcome], *, at: datetime) -> int:
        """Write outcomes that are not there yet, before or after their predictions; errors likewise.

        When the same outcome became known counts from the first time.
        """

    def append_shadows(self, model: str, said: Iterable[tuple[str, ShadowScore]]) -> int:
        """Write what shadows said of predictions that are there, by id, each once; return how many were new."""

    def read_predictions(
        self,
        model: str,
        window: Window,
        *,
        known_by: float = math.inf,
        target: str | None = None,
        numeric: Sequence[str] = (),
        variant: str | None = None,
    ) -> LoggedRows:
        """Return a window's predictions in clock order, each served one once; of one variant where that is asked.

        The frame holds the features, ``@score`` (or ``@score:<class>``), ``@decision``, ``@version``, ``@variant``,
        ``@entity``, ``@prediction_id``, ``@known_at``, and in column ``target`` (``@outcome`` by default) the outcome,
        null where it was not known by ``known_by``.
        """

    def read_shadows(
        self,
        model: str,
        window: Window,
        *,
        known_by: float = math.inf,
        target: str | None = None,
        numeric: Sequence[str] = (),
        variant: str | None = None,
    ) -> LoggedRows:
        """Return what shadows said of a window's predictions, as if each had served them: the same columns.

        Score, decision, version and variant are the shadow's; the rest is of the served row, so that
        ``@prediction_id`` pairs both. A row comes once for each shadow that scored it, in clock order.
        """

    def newest_position(
        self, model: str, *, until: float = math.inf, variants: Collection[str] | None = None
    ) -> float | None:
        """Return the position of the newest prediction (of some variants) not past ``until``; None without any."""

    def positions(self, model: str, *, since: float = -math.inf) -> FloatArray:
        """Return the positions of all predictions from ``since`` on, ascending."""

    def count_predictions(self, model: str, window: Window, *, by: float = 3600.0) -> dict[float, int]:
        """Return how many predictions each stretch of length ``by`` holds, by its start; empty ones are left out."""

    def purge_predictions(self, model: str, *, before: float) -> int:
        """Delete predictions before a position, with outcomes and shadow scores, chunk by chunk; return how many."""
