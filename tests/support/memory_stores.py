"""Ledger, log and registry in memory, for tests of flows: same contract, same refusals, no files."""

import math
import re
import threading
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from evergreen.tasks.core.errors import InputError, UnknownName
from evergreen.tasks.core.promotion.ledger import next_entry, parse_entry_id
from evergreen.tasks.core.serving.idempotency import IdConflict, OutcomeRecord, Record
from evergreen.tasks.io.locks import lock_held, lock_lost
from evergreen.tasks.io.mlflow_store.reader import VersionInfo, unknown_version
from evergreen.tasks.io.prediction_log.encode import shadow_record
from evergreen.tasks.io.prediction_log.records import logged_rows, outcome_values, prediction_values
from evergreen.tasks.io.prediction_log.store import same_content, unknown_grid, unpack, window_values


@dataclass
class MemoryLock:
    """A lock of a ``MemoryLedger``; ``held`` turns False when the test breaks it."""

    model: str
    held: bool = True

    def check(self):
        if not self.held:
            raise lock_lost(self.model, "a test broke it")


class MemoryLedger:
    """A ledger that forgets everything with its process; safe among threads."""

    def __init__(self):
        self._streams = {}
        self._locks = {}
        self._guard = threading.RLock()

    def append(self, *, model, stream, kind, payload, at):
        with self._guard:
            history = self._streams.get((model, stream), [])
            last = history[-1] if history else None
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            self._streams[model, stream] = [*history, entry]
            return entry

    def claim(self, *, model, stream, at, decide):
        while True:
            history = self.read(model=model, stream=stream)
            decided = decide(history)
            if decided is None:
                return None
            with self._guard:
                if self.read(model=model, stream=stream) == history:
                    kind, payload = decided
                    return self.append(model=model, stream=stream, kind=kind, payload=payload, at=at)

    def follow(self, *, model, stream, after, kind, payload, at):
        with self._guard:
            if len(self._streams.get((model, stream), [])) != after:
                return None
            return self.append(model=model, stream=stream, kind=kind, payload=payload, at=at)

    def last(self, model, stream):
        return next(iter(self.read_tail(model, stream, 1)), None)

    def read_tail(self, model, stream, count):
        history = self.read(model=model, stream=stream)
        return history[max(len(history) - count, 0) :]

    def read(self, *, model=None, stream=None):
        with self._guard:
            keys = sorted(self._streams)
            wanted = [key for key in keys if model in (None, key[0]) and stream in (None, key[1])]
            return [entry for key in wanted for entry in self._streams[key]]

    def get(self, entry_id):
        model, stream, seq = parse_entry_id(entry_id)
        history = self.read(model=model, stream=stream)
        if not 1 <= seq <= len(history):
            raise UnknownName(f"Unknown ledger entry '{entry_id}'. Known: {len(history)} of this stream.")
        return history[seq - 1]

    @contextmanager
    def lock(self, model):
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

    def lock_is_held(self, model):
        return model in self._locks

    def break_lock(self, model):
        """Take the lock from its holder, as a cut database connection does."""
        with self._guard:
            self._locks.pop(model).held = False


class MemoryRegistry:
    """A model registry in memory; ``created_at`` comes from ``clock``."""

    def __init__(self, *, clock=lambda: datetime.now(UTC)):
        self._versions, self._aliases = defaultdict(dict), defaultdict(dict)
        self._clock = clock

    def ensure_model(self, name, *, description="", tags=None):
        """Do nothing: every name may be registered."""

    def aliases(self, name):
        return dict(self._aliases[name])

    def set_alias(self, name, alias, version):
        reserved = alias.lower() == "latest" or re.fullmatch(r"[vV]\d+", alias)
        if reserved or not re.fullmatch(r"[\w-]+", alias):
            raise InputError(
                f"Alias '{alias}' of model '{name}' is refused. Allowed: letters, digits, '_' and '-', "
                "but neither 'latest' nor 'v' with a number."
            )
        self.version(name, version)
        self._aliases[name][alias] = version

    def delete_alias(self, name, alias):
        self._aliases[name].pop(alias, None)

    def version(self, name, version):
        if version not in self._versions[name]:
            raise unknown_version(name, version, sorted(self._versions[name]))
        return self._versions[name][version]

    def versions(self, name):
        return list(self._versions[name].values())

    def set_tags(self, name, version, tags):
        info = self.version(name, version)
        self._versions[name][version] = replace(info, tags={**info.tags, **tags})

    def register(self, name, *, source, run_id, tags=None, description=""):
        number = len(self._versions[name]) + 1
        info = VersionInfo(
            model=name,
            version=number,
            run_id=run_id,
            source=source,
            tags=dict(tags or {}),
            created_at=self._clock(),
        )
        self._versions[name][number] = info
        return info


class MemoryLog:
    """A log that forgets everything with its process."""

    def __init__(self):
        self._windows = {}
        self._grids = {}
        self.stored_predictions = {}
        self.stored_outcomes = {}
        self.stored_shadows = {}

    def put_window(self, record, *, grids=()):
        plain = unpack(window_values(record)["payload"])
        key = (record.model, record.phase, record.window.start, record.window.end)
        self._windows[key] = replace(record, payload=plain["payload"], profiles=plain["profiles"])
        self._grids.update({grid.id: grid for grid in grids})

    def get_window(self, model, phase, window):
        return self._windows.get((model, phase, window.start, window.end))

    def windows(self, model, phase, *, since=-math.inf, until=math.inf):
        keys = sorted(key for key in self._windows if key[:2] == (model, phase) and since <= key[2] < until)
        return [self._windows[key] for key in keys]

    def grid(self, grid_id):
        if grid_id not in self._grids:
            raise unknown_grid(grid_id)
        return self._grids[grid_id]

    def purge_windows(self, model, *, before=None, written_before=None):
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

    def append_predictions(self, model, served, *, at):
        return _append(self.stored_predictions, [prediction_values(model, each) for each in served])

    def append_outcomes(self, model, known, *, at):
        return _append(self.stored_outcomes, [outcome_values(model, each) for each in known])

    def append_shadows(self, model, said):
        before = len(self.stored_shadows)
        for name, each in said:
            if (model, name) in self.stored_predictions:
                record = shadow_record(model, name, each)
                self.stored_shadows.setdefault(record[:3], record)
        return len(self.stored_shadows) - before

    def read_predictions(self, model, window, *, known_by=math.inf, target=None, numeric=(), variant=None):
        stored = [row for row in self._inside(model, window) if variant in (None, row["variant"])]
        return logged_rows(stored, known_by=known_by, target=target, numeric=tuple(numeric))

    def read_shadows(self, model, window, *, known_by=math.inf, target=None, numeric=(), variant=None):
        said = {}
        for key, record in sorted(self.stored_shadows.items()):
            if key[0] == model and variant in (None, key[2]):
                answer = dict(zip(("variant", "version", "score", "decision"), record[2:], strict=True))
                said.setdefault(key[1], []).append(answer)
        rows = self._inside(model, window)
        stored = [{**row, **answer} for row in rows for answer in said.get(row["prediction_id"], [])]
        return logged_rows(stored, known_by=known_by, target=target, numeric=tuple(numeric))

    def newest_position(self, model, *, until=math.inf, variants=None):
        rows = (row for row in self._of(model) if variants is None or row["variant"] in variants)
        return max((row["position"] for row in rows if row["position"] <= until), default=None)

    def positions(self, model, *, since=-math.inf):
        return np.array(sorted(row["position"] for row in self._of(model) if row["position"] >= since))

    def purge_predictions(self, model, *, before):
        predictions, outcomes = self.stored_predictions, self.stored_outcomes
        old = {key for key, row in predictions.items() if key[0] == model and row["position"] < before}
        early = {key for key, row in outcomes.items() if key[0] == model and row["known_at"] < before}
        self.stored_predictions = {key: row for key, row in predictions.items() if key not in old}
        self.stored_outcomes = {key: row for key, row in outcomes.items() if key not in old | early}
        self.stored_shadows = {key: row for key, row in self.stored_shadows.items() if key[:2] not in old}
        return len(old)

    def _inside(self, model, window):
        nothing = {"outcome": None, "known_at": None}
        rows = sorted(
            (row for row in self._of(model) if window.start <= row["position"] < window.end),
            key=lambda row: (row["position"], row["prediction_id"]),
        )
        return [{**row, **self.stored_outcomes.get((model, row["prediction_id"]), nothing)} for row in rows]

    def _of(self, model):
        return [row for key, row in self.stored_predictions.items() if key[0] == model]


def _append(stored, values):
    fresh = 0
    for row in values:
        key = (row["model"], row["prediction_id"])
        fresh += key not in stored
        if not same_content(stored.setdefault(key, row), row):
            raise IdConflict(row["prediction_id"])
    return fresh


class MemoryStore:
    """A store that forgets everything with its process; it never fails by itself."""

    failures = (OSError,)
    value_errors = (OverflowError,)

    def __init__(self, log):
        self._log = log
        self._staged = []

    def begin(self):
        self._staged = []

    def predictions(self, keys):
        table = self._log.stored_predictions
        staged = {key: row for each, key, row in self._staged if each is table}
        found = {key: table.get(key, staged.get(key)) for key in keys}
        return {key: Record(**row) for key, row in found.items() if row is not None}

    def outcomes(self, keys):
        found = {key: self._log.stored_outcomes.get(key) for key in keys}
        return {key: OutcomeRecord(**row) for key, row in found.items() if row is not None}

    def insert_predictions(self, records, *, at):
        return self._stage(
            self._log.stored_predictions, [(record[:2], record._asdict()) for record in records]
        )

    def insert_shadows(self, records):
        there = self._log.stored_predictions.keys() | {key for _, key, _ in self._staged}
        self._stage(
            self._log.stored_shadows, [(record[:3], record) for record in records if record[:2] in there]
        )

    def insert_outcomes(self, records, *, at):
        return self._stage(self._log.stored_outcomes, [(record[:2], record._asdict()) for record in records])

    def commit(self):
        for table, key, row in self._staged:
            table.setdefault(key, row)
        self._staged = []

    def probe(self, *, at):
        self.begin()
        self.commit()

    def drop(self):
        self._staged = []

    def _stage(self, table, rows):
        fresh = {}
        for key, row in rows:
            if key not in table:
                fresh.setdefault(key, row)
        self._staged += [(table, key, row) for key, row in fresh.items()]
        return len(fresh)
