"""The log in memory, for tests of flows: same contract, same refusals, no files."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from tasks.core.data.clock import Window
from tasks.core.drift.words import Phase
from tasks.core.errors import InputError
from tasks.core.metrics.scored import FloatArray
from tasks.core.profiles.grid import Grid
from tasks.core.serving.once import IdTaken
from tasks.io.log import unknown_grid, unpack, window_values
from tasks.io.log_encode import ShadowRecord, shadow_record
from tasks.io.log_records import (
    KnownOutcome,
    LoggedRows,
    Prediction,
    WindowRecord,
    logged_rows,
    outcome_values,
    prediction_values,
)
from tasks.io.predictions import same_content
from tasks.io.served import ShadowScore

_Stored = dict[tuple[str, str], dict[str, Any]]


class MemoryLog:
    """A log that forgets everything with its process."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, Phase, float, float], WindowRecord] = {}
        self._grids: dict[str, Grid] = {}
        self.stored_predictions: _Stored = {}
        self.stored_outcomes: _Stored = {}
        self.stored_shadows: dict[tuple[str, str, str], ShadowRecord] = {}

    def put_window(self, record: WindowRecord, *, grids: Iterable[Grid] = ()) -> None:
        """Write what a look found; a second time replaces the first."""
        plain = unpack(window_values(record)["payload"])
        key = (record.model, record.phase, record.window.start, record.window.end)
        self._windows[key] = replace(record, payload=plain["payload"], profiles=plain["profiles"])
        self._grids.update({grid.id: grid for grid in grids})

    def get_window(self, model: str, phase: Phase, window: Window) -> WindowRecord | None:
        """Return what a look found; None when there was none."""
        return self._windows.get((model, phase, window.start, window.end))

    def windows(
        self, model: str, phase: Phase, *, since: float = -math.inf, until: float = math.inf
    ) -> list[WindowRecord]:
        """Return windows that start in ``[since, until)``, in time order."""
        keys = sorted(key for key in self._windows if key[:2] == (model, phase) and since <= key[2] < until)
        return [self._windows[key] for key in keys]

    def grid(self, grid_id: str) -> Grid:
        """Return a grid; ``UnknownName`` when it is not there."""
        if grid_id not in self._grids:
            raise unknown_grid(grid_id)
        return self._grids[grid_id]

    def purge_windows(
        self, model: str, *, before: float | None = None, written_before: datetime | None = None
    ) -> int:
        """Delete windows that end by a position, or were written before a moment; return how many."""
        if (before is None) == (written_before is None):
            raise InputError("Say either a position or a moment.")
        old = [
            key
            for key, record in self._windows.items()
            if key[0] == model
            and (key[3] <= before if before is not None else written_before and record.at < written_before)
        ]
        for key in old:
            del self._windows[key]
        return len(old)

    def append_predictions(self, model: str, served: Iterable[Prediction], *, at: datetime) -> int:
        """Write predictions that are not there yet; return how many those were."""
        return _append(self.stored_predictions, [prediction_values(model, each) for each in served])

    def append_outcomes(self, model: str, known: Iterable[KnownOutcome], *, at: datetime) -> int:
        """Write outcomes that are not there yet."""
        return _append(self.stored_outcomes, [outcome_values(model, each) for each in known])

    def append_shadows(self, model: str, said: Iterable[tuple[str, ShadowScore]]) -> int:
        """Write what shadows said of predictions that are there, by id, each once; return how many were new."""
        before = len(self.stored_shadows)
        for name, each in said:
            if (model, name) in self.stored_predictions:
                record = shadow_record(model, name, each)
                self.stored_shadows.setdefault(record[:3], record)
        return len(self.stored_shadows) - before

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
        """Return a window's predictions in clock order, each served one once."""
        stored = [row for row in self._inside(model, window) if variant in (None, row["variant"])]
        return logged_rows(stored, known_by=known_by, target=target, numeric=tuple(numeric))

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
        """Return what shadows said of a window's predictions, as if each had served them."""
        said: dict[str, list[dict[str, Any]]] = {}
        for key, record in sorted(self.stored_shadows.items()):
            if key[0] == model and variant in (None, key[2]):
                answer = dict(zip(("variant", "version", "score", "decision"), record[2:], strict=True))
                said.setdefault(key[1], []).append(answer)
        rows = self._inside(model, window)
        stored = [{**row, **answer} for row in rows for answer in said.get(row["prediction_id"], [])]
        return logged_rows(stored, known_by=known_by, target=target, numeric=tuple(numeric))

    def newest_position(
        self, model: str, *, until: float = math.inf, variants: Collection[str] | None = None
    ) -> float | None:
        """Return the position of the newest prediction (of some variants) not past ``until``; None without any."""
        rows = (row for row in self._of(model) if variants is None or row["variant"] in variants)
        return max((row["position"] for row in rows if row["position"] <= until), default=None)

    def positions(self, model: str, *, since: float = -math.inf) -> FloatArray:
        """Return the positions of all predictions from ``since`` on, ascending."""
        return np.array(sorted(row["position"] for row in self._of(model) if row["position"] >= since))

    def count_predictions(self, model: str, window: Window, *, by: float = 3600.0) -> dict[float, int]:
        """Return how many predictions each stretch of length ``by`` holds, by its start."""
        inside = (row["position"] for row in self._of(model) if window.start <= row["position"] < window.end)
        return dict(sorted(Counter(math.floor(position / by) * by for position in inside).items()))

    def purge_predictions(self, model: str, *, before: float) -> int:
        """Delete predictions before a position, with outcomes and shadow scores; return how many."""
        old = {
            key
            for key, row in self.stored_predictions.items()
            if key[0] == model and row["position"] < before
        }
        for key in old:
            del self.stored_predictions[key]
        keep = {
            key: row
            for key, row in self.stored_outcomes.items()
            if key[0] != model or (key not in old and row["known_at"] >= before)
        }
        self.stored_outcomes = keep
        self.stored_shadows = {key: row for key, row in self.stored_shadows.items() if key[:2] not in old}
        return len(old)

    def _inside(self, model: str, window: Window) -> list[dict[str, Any]]:
        """Return a window's predictions with their outcomes, in clock order."""
        nothing = {"outcome": None, "known_at": None}
        rows = sorted(
            (row for row in self._of(model) if window.start <= row["position"] < window.end),
            key=lambda row: (row["position"], row["prediction_id"]),
        )
        return [{**row, **self.stored_outcomes.get((model, row["prediction_id"]), nothing)} for row in rows]

    def _of(self, model: str) -> list[dict[str, Any]]:
        return [row for key, row in self.stored_predictions.items() if key[0] == model]


def _append(stored: _Stored, values: list[dict[str, Any]]) -> int:
    fresh = 0
    for row in values:
        key = (row["model"], row["prediction_id"])
        fresh += key not in stored
        if not same_content(stored.setdefault(key, row), row):
            raise IdTaken(row["prediction_id"])
    return fresh
