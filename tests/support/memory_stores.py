"""Ledger, log and registry in memory, for tests of flows: same contract, same refusals, no files."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from evergreen.tasks.core.arrays import FloatArray
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.profiles.grid import Grid
from evergreen.tasks.core.promotion.ledger import LedgerEntry, next_entry, parse_entry_id
from evergreen.tasks.core.serving.idempotency import IdConflict, Key, OutcomeRecord, Record
from evergreen.tasks.io.ledger import Decide
from evergreen.tasks.io.locks import lock_held, lock_lost
from evergreen.tasks.io.mlflow_store.reader import VersionInfo, unknown_version
from evergreen.tasks.io.prediction_log.encode import ShadowRecord, shadow_record
from evergreen.tasks.io.prediction_log.records import (
    KnownOutcome,
    LoggedRows,
    Prediction,
    ShadowScore,
    WindowRecord,
    logged_rows,
    outcome_values,
    prediction_values,
)
from evergreen.tasks.io.prediction_log.store import same_content, unknown_grid, unpack, window_values


@dataclass
class MemoryLock:
    """A lock of a ``MemoryLedger``; ``held`` turns False when the test breaks it."""

    model: str
    held: bool = True

    def check(self) -> None:
        """Raise ``Blocked("lock_lost")`` after ``MemoryLedger.break_lock``."""
        if not self.held:
            raise lock_lost(self.model, "a test broke it")


class MemoryLedger:
    """A ledger that forgets everything with its process; safe among threads."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], list[LedgerEntry]] = {}
        self._locks: dict[str, MemoryLock] = {}
        self._guard = threading.RLock()

    def append(
        self, *, model: str, stream: str, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry:
        """Append one entry at the end of a stream."""
        with self._guard:
            history = self._streams.get((model, stream), [])
            last = history[-1] if history else None
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            self._streams[(model, stream)] = [*history, entry]
            return entry

    def claim(self, *, model: str, stream: str, at: datetime, decide: Decide) -> LedgerEntry | None:
        """Read a stream, decide, append; None when nothing is claimed."""
        while True:
            history = self.read(model=model, stream=stream)
            decided = decide(history)
            if decided is None:
                return None
            with self._guard:
                if self.read(model=model, stream=stream) == history:
                    kind, payload = decided
                    return self.append(model=model, stream=stream, kind=kind, payload=payload, at=at)

    def follow(
        self, *, model: str, stream: str, after: int, kind: str, payload: dict[str, Any], at: datetime
    ) -> LedgerEntry | None:
        """Append one entry if the stream still ends in entry number ``after``; None when it does not."""
        with self._guard:
            if len(self._streams.get((model, stream), [])) != after:
                return None
            return self.append(model=model, stream=stream, kind=kind, payload=payload, at=at)

    def last(self, model: str, stream: str) -> LedgerEntry | None:
        """Return the newest entry of a stream; None when it is empty."""
        return next(iter(self.read_tail(model, stream, 1)), None)

    def read_tail(self, model: str, stream: str, count: int) -> list[LedgerEntry]:
        """Return at most ``count`` newest entries of a stream, in order of their numbers."""
        history = self.read(model=model, stream=stream)
        return history[max(len(history) - count, 0) :]

    def read(self, *, model: str | None = None, stream: str | None = None) -> list[LedgerEntry]:
        """Return entries in order of model, stream and number."""
        with self._guard:
            keys = sorted(self._streams)
            wanted = [key for key in keys if model in (None, key[0]) and stream in (None, key[1])]
            return [entry for key in wanted for entry in self._streams[key]]

    def get(self, entry_id: str) -> LedgerEntry:
        """Return one entry by its id; ``UnknownName`` when there is none."""
        model, stream, seq = parse_entry_id(entry_id)
        history = self.read(model=model, stream=stream)
        if not 1 <= seq <= len(history):
            raise UnknownName(f"Unknown ledger entry '{entry_id}'. Known: {len(history)} of this stream.")
        return history[seq - 1]

    @contextmanager
    def lock(self, model: str) -> Iterator[MemoryLock]:
        """Hold the model's lock; ``Blocked("lock_held")`` at once when another holds it."""
        mine = MemoryLock(model)
        with self._guard:
            if model in self._locks:
                raise lock_held(model)
            self._locks[model] = mine
        try:
            yield mine
        finally:
            with self._guard:
                if self._locks.get(model) is mine:
                    del self._locks[model]

    def lock_is_held(self, model: str) -> bool:
        """Return whether anybody holds the model's lock now."""
        return model in self._locks

    def break_lock(self, model: str) -> None:
        """Take the lock from its holder, as a cut database connection does."""
        with self._guard:
            self._locks.pop(model).held = False


@dataclass
class _Model:
    versions: dict[int, VersionInfo] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)


class MemoryRegistry:
    """A model registry in memory.

    Parameters
    ----------
    clock : callable, optional
        Where ``created_at`` comes from; by default the computer's clock.
    """

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._models: dict[str, _Model] = {}
        self._clock = clock

    def ensure_model(
        self, name: str, *, description: str = "", tags: Mapping[str, str] | None = None
    ) -> None:
        """Create the registered model unless it exists."""
        self._models.setdefault(name, _Model())

    def aliases(self, name: str) -> dict[str, int]:
        """Return version numbers by alias; empty for a model that does not exist."""
        return dict(self._models.get(name, _Model()).aliases)

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version; the names MLflow refuses are refused here too."""
        reserved = alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias)
        if reserved or not re.fullmatch(r"[\w-]+", alias):
            raise InputError(
                f"Alias '{alias}' of model '{name}' is refused. Allowed: letters, digits, '_' and '-', "
                "but neither 'latest' nor 'v' with a number."
            )
        self.version(name, version)
        self._models[name].aliases[alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; an absent one is fine."""
        self._models.get(name, _Model()).aliases.pop(alias, None)

    def version(self, name: str, version: int) -> VersionInfo:
        """Return one version; ``UnknownName`` when there is none."""
        held = self._models.get(name, _Model()).versions
        if version not in held:
            raise unknown_version(name, version, sorted(held))
        return held[version]

    def versions(self, name: str) -> list[VersionInfo]:
        """Return all versions in ascending order."""
        return list(self._models.get(name, _Model()).versions.values())

    def set_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version; others stay."""
        info = self.version(name, version)
        self._models[name].versions[version] = replace(info, tags={**info.tags, **tags})

    def register(
        self,
        name: str,
        *,
        source: str,
        run_id: str | None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> VersionInfo:
        """Register files as the next version; the model is created when needed."""
        self.ensure_model(name)
        number = len(self._models[name].versions) + 1
        info = VersionInfo(
            model=name,
            version=number,
            run_id=run_id,
            source=source,
            tags=dict(tags or {}),
            created_at=self._clock(),
        )
        self._models[name].versions[number] = info
        return info


# The log in memory, for tests of flows: same contract, same refusals, no files.


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
            raise IdConflict(row["prediction_id"])
    return fresh


# The log's writer in memory, for tests of services: what is committed is in a `MemoryLog`.


class MemoryStore:
    """A store that forgets everything with its process; it never fails by itself."""

    failures: tuple[type[Exception], ...] = (OSError,)
    value_errors: tuple[type[Exception], ...] = (OverflowError,)

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._staged: list[tuple[dict[Any, Any], Any, Any]] = []

    def begin(self) -> None:
        """Begin a transaction."""
        self._staged = []

    def predictions(self, keys: Iterable[Key]) -> dict[Key, Record]:
        """Return those that are there, with what was inserted in this transaction."""
        table = self._log.stored_predictions
        staged = {key: row for each, key, row in self._staged if each is table}
        found = {key: table.get(key, staged.get(key)) for key in keys}
        return {key: Record(**row) for key, row in found.items() if row is not None}

    def outcomes(self, keys: Iterable[Key]) -> dict[Key, OutcomeRecord]:
        """Return those that are there."""
        found = {key: self._log.stored_outcomes.get(key) for key in keys}
        return {key: OutcomeRecord(**row) for key, row in found.items() if row is not None}

    def insert_predictions(self, records: Sequence[Record], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._stage(
            self._log.stored_predictions, [(record[:2], record._asdict()) for record in records]
        )

    def insert_shadows(self, records: Sequence[ShadowRecord]) -> None:
        """Insert what is not there, of predictions that are."""
        there = self._log.stored_predictions.keys() | {key for _, key, _ in self._staged}
        self._stage(
            self._log.stored_shadows, [(record[:3], record) for record in records if record[:2] in there]
        )

    def insert_outcomes(self, records: Sequence[OutcomeRecord], *, at: str) -> int:
        """Insert what is not there; return how many that were."""
        return self._stage(self._log.stored_outcomes, [(record[:2], record._asdict()) for record in records])

    def commit(self) -> None:
        """Make what was inserted visible."""
        for table, key, row in self._staged:
            table.setdefault(key, row)
        self._staged = []

    def probe(self, *, at: str) -> None:
        """Begin and commit: whoever makes either fail makes this fail."""
        self.begin()
        self.commit()

    def drop(self) -> None:
        """Forget what was not committed."""
        self._staged = []

    def _stage(self, table: dict[Any, Any], rows: Sequence[tuple[Any, Any]]) -> int:
        fresh: dict[Any, Any] = {}
        for key, row in rows:
            if key not in table:
                fresh.setdefault(key, row)
        self._staged += [(table, key, row) for key, row in fresh.items()]
        return len(fresh)
