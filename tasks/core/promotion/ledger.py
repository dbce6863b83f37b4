"""The ledger's entries and their chain: what an entry is, how it is hashed, whether a stream is whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from evergreen.tasks.core.errors import InputError, UnknownName

GENESIS = "0" * 64
"""``prev_hash`` of the first entry of a stream."""


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line of a stream; never changed, never deleted."""

    model: str
    stream: str
    """The registered model and the kind of history: ``decisions``, ``plans``, ``approvals``, ``alpha``, …"""
    seq: int
    """1, 2, 3, … within (model, stream), without gaps."""
    at: datetime
    """Aware, in UTC."""
    kind: str
    """What happened, e.g. ``planned`` or ``closed``."""
    payload: dict[str, Any]
    """JSON, as a reader gets it back from the database; states and codes of reasons in today's words."""
    prev_hash: str
    hash: str = field(repr=False)
    """SHA-256 in hex of the entry before (``GENESIS`` for the first) and of this one."""
    stored: dict[str, Any] | None = field(default=None, repr=False)
    """The payload as it was written, and hashed, by an earlier version with other words; None: it is
    ``payload``."""

    @property
    def id(self) -> str:
        """Return ``model/stream/seq``, the key other entries and runs refer to it by."""
        return f"{self.model}/{self.stream}/{self.seq}"


@dataclass(frozen=True, kw_only=True)
class ChainFault:
    """A place where a stream is not what was once written."""

    entry_id: str
    code: str
    message: str


def canonical_json(payload: Mapping[str, Any]) -> str:
    """Return the one JSON text of a payload: sorted keys, no spaces, no NaN or infinity.

    Raises
    ------
    InputError
        When the payload holds something JSON cannot say.

    >>> canonical_json({"b": (1, 2), "a": None})
    '{"a":null,"b":[1,2]}'
    """
    try:
        return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        shown = text if len(text := repr(payload)) <= 300 else f"{text[:300]} …"
        raise InputError(
            f"Ledger payload {shown} is not JSON ({error}). Allowed: text, finite numbers, true, false, "
            "null, lists and objects. Turn arrays into lists and NaN into null first."
        ) from error


def instant(at: datetime) -> str:
    """Return a moment as sortable ISO text in UTC with microseconds.

    Raises
    ------
    InputError
        When ``at`` is naive: the ledger does not guess a time zone.

    >>> instant(datetime(2026, 1, 2, 3, tzinfo=UTC))
    '2026-01-02T03:00:00.000000+00:00'
    """
    if at.tzinfo is None:
        raise InputError(
            f"Ledger time {at.isoformat()} has no time zone. Allowed: aware datetimes. Add tzinfo=UTC."
        )
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def hash_entry(
    *, model: str, stream: str, seq: int, at: datetime, kind: str, payload: Mapping[str, Any], prev_hash: str
) -> str:
    """Return the SHA-256 over every field of an entry but its own hash.

    The fields are joined as one JSON list, so no two different entries share a text.
    """
    fields = [model, stream, seq, instant(at), kind, canonical_json(payload), prev_hash]
    text = json.dumps(fields, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def next_entry(
    last: LedgerEntry | None, *, model: str, stream: str, at: datetime, kind: str, payload: Mapping[str, Any]
) -> LedgerEntry:
    """Return the entry that follows ``last`` (None: the first of its stream)."""
    if not model or not stream or "/" in stream:
        raise InputError(
            f"Ledger key ({model!r}, {stream!r}) is unusable. Allowed: a model name and a stream name without '/'."
        )
    instant(at)  # refuses a moment without a time zone
    facts: dict[str, Any] = {
        "model": model,
        "stream": stream,
        "seq": 1 if last is None else last.seq + 1,
        "at": at.astimezone(UTC),
        "kind": kind,
        "payload": json.loads(canonical_json(payload)),
        "prev_hash": GENESIS if last is None else last.hash,
    }
    return LedgerEntry(**facts, hash=hash_entry(**facts))


def parse_entry_id(entry_id: str) -> tuple[str, str, int]:
    """Split ``model/stream/seq``; a model name may itself contain slashes.

    >>> parse_entry_id("prod.fraud/plans/3")
    ('prod.fraud', 'plans', 3)
    """
    parts = entry_id.rsplit("/", 2)
    if len(parts) != 3 or not all(parts) or not parts[2].isdecimal():
        raise UnknownName(
            f"Unknown ledger entry '{entry_id}'. Allowed: <model>/<stream>/<number>, e.g. fraud/decisions/3."
        )
    return parts[0], parts[1], int(parts[2])


def check_chain(entries: Iterable[LedgerEntry]) -> tuple[ChainFault, ...]:
    """Return every place where a stream has a gap, a broken link or a changed entry; empty when whole.

    Parameters
    ----------
    entries : iterable of Entry
        Whole streams of any number of models, in any order.
    """
    ordered = sorted(entries, key=lambda entry: (entry.model, entry.stream, entry.seq))
    faults: list[ChainFault] = []
    for _, stream in groupby(ordered, key=lambda entry: (entry.model, entry.stream)):
        faults.extend(_check_stream(list(stream)))
    return tuple(faults)


_HASHED = ("model", "stream", "seq", "at", "kind", "prev_hash")


def _check_stream(stream: Sequence[LedgerEntry]) -> list[ChainFault]:
    faults = []
    seq, prev_hash = 1, GENESIS
    for entry in stream:
        if entry.seq != seq:
            faults.append(_fault(entry, "gap", f"follows entry {seq - 1}; an entry between them is missing"))
        elif entry.prev_hash != prev_hash:
            faults.append(_fault(entry, "broken_link", "does not continue the hash of the entry before it"))
        facts = {name: getattr(entry, name) for name in _HASHED}
        payload = entry.payload if entry.stored is None else entry.stored
        if hash_entry(**facts, payload=payload) != entry.hash:
            faults.append(_fault(entry, "changed", "is not what was written: its hash differs"))
        seq, prev_hash = entry.seq + 1, entry.hash
    return faults


def _fault(entry: LedgerEntry, code: str, message: str) -> ChainFault:
    return ChainFault(entry_id=entry.id, code=code, message=f"Entry {entry.id} {message}.")
