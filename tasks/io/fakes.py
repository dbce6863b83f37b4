"""Ledger, log and registry in memory, for tests of flows: same contract, same refusals, no files."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from tasks.core.errors import InputError, UnknownName
from tasks.core.reign.ledger import Entry, next_entry, parse_entry_id
from tasks.io.ledger import Decide
from tasks.io.locks import lock_held, lock_lost
from tasks.io.log_fake import MemoryLog
from tasks.io.registry import VersionInfo, unknown_version

__all__ = ["MemoryLedger", "MemoryLock", "MemoryLog", "MemoryRegistry"]


@dataclass
class MemoryLock:
    """A lock of a ``MemoryLedger``; ``held`` turns False when the test breaks it."""

    model: str
    held: bool = True

    def check(self) -> None:
        """Raise ``Held("lock_lost")`` after ``MemoryLedger.break_lock``."""
        if not self.held:
            raise lock_lost(self.model, "a test broke it")


class MemoryLedger:
    """A ledger that forgets everything with its process; safe among threads."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], list[Entry]] = {}
        self._locks: dict[str, MemoryLock] = {}
        self._guard = threading.RLock()

    def append(self, *, model: str, stream: str, kind: str, payload: dict[str, Any], at: datetime) -> Entry:
        """Append one entry at the end of a stream."""
        with self._guard:
            history = self._streams.get((model, stream), [])
            last = history[-1] if history else None
            entry = next_entry(last, model=model, stream=stream, at=at, kind=kind, payload=payload)
            self._streams[(model, stream)] = [*history, entry]
            return entry

    def claim(self, *, model: str, stream: str, at: datetime, decide: Decide) -> Entry | None:
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
    ) -> Entry | None:
        """Append one entry if the stream still ends in entry number ``after``; None when it does not."""
        with self._guard:
            if len(self._streams.get((model, stream), [])) != after:
                return None
            return self.append(model=model, stream=stream, kind=kind, payload=payload, at=at)

    def last(self, model: str, stream: str) -> Entry | None:
        """Return the newest entry of a stream; None when it is empty."""
        return next(iter(self.read_tail(model, stream, 1)), None)

    def read_tail(self, model: str, stream: str, count: int) -> list[Entry]:
        """Return at most ``count`` newest entries of a stream, in order of their numbers."""
        history = self.read(model=model, stream=stream)
        return history[max(len(history) - count, 0) :]

    def read(self, *, model: str | None = None, stream: str | None = None) -> list[Entry]:
        """Return entries in order of model, stream and number."""
        with self._guard:
            keys = sorted(self._streams)
            wanted = [key for key in keys if model in (None, key[0]) and stream in (None, key[1])]
            return [entry for key in wanted for entry in self._streams[key]]

    def get(self, entry_id: str) -> Entry:
        """Return one entry by its id; ``UnknownName`` when there is none."""
        model, stream, seq = parse_entry_id(entry_id)
        history = self.read(model=model, stream=stream)
        if not 1 <= seq <= len(history):
            raise UnknownName(f"Unknown ledger entry '{entry_id}'. Known: {len(history)} of this stream.")
        return history[seq - 1]

    @contextmanager
    def lock(self, model: str) -> Iterator[MemoryLock]:
        """Hold the model's lock; ``Held("lock_held")`` at once when another holds it."""
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
