"""What a client says is one request: the ids of its rows, and a digest of each row as it was sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.serving.answers import refusal
from evergreen.tasks.core.serving.decode import read_ids
from evergreen.tasks.core.serving.parse import FORMS

# An id is written once: which rows of a batch are new, which were answered before, and which must be refused.


Key = tuple[str, str]
"""Model and prediction id."""
SEALED = "h:"
"""What a keyed digest begins with: it covers values of which the log may hold nothing that can be compared."""


class Record(NamedTuple):
    """A prediction as the log stores it, but for the time of writing; score, decision and features are JSON.

    ``request`` is the digest of the row as it was sent (`evergreen.tasks.core.serving.idempotency`); None where
    the client chose
    neither a key nor ids.
    """

    model: str
    prediction_id: str
    position: float
    version: int | None
    variant: str | None
    entity: str | None
    score: str
    decision: str
    features: str
    request: str | None = None


class OutcomeRecord(NamedTuple):
    """An outcome as the log stores it, but for the time of writing; ``outcome`` is JSON."""

    model: str
    prediction_id: str
    outcome: str
    known_at: float


class IdConflict(InputError):
    """An id that was used for something else.

    Attributes
    ----------
    prediction_id : str
        The id.
    """

    code = "id_taken"

    def __init__(self, prediction_id: str) -> None:
        super().__init__(
            f"Prediction '{prediction_id}' is in the log with another content. An id is written once: the same again "
            "changes nothing, another request needs an id (or Idempotency-Key) of its own."
        )
        self.prediction_id = prediction_id


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the puts of a batch go."""

    fresh: list[int] = field(default_factory=list)
    """Numbers of the puts to insert."""
    again: dict[int, list[Record]] = field(default_factory=dict)
    """Puts that are there already, with what is stored: their first answers."""
    refused: dict[int, str] = field(default_factory=dict)
    """Puts of which an id means something else, with that id."""


def place(puts: Sequence[Sequence[Record]], there: Mapping[Key, Record]) -> Placement:
    """Place each put (the rows of one request) as a whole: new, answered before, or refused.

    A request that is there in part is another request under the same key: no row of it is written. Where two puts of
    the batch bear the same ids, the first one is what the second finds.
    """
    placement, meant = Placement(), dict(there)
    for number, rows in enumerate(puts):
        earlier = [meant.get(row[:2]) for row in rows]
        if not any(earlier):
            placement.fresh.append(number)
            meant.update((row[:2], row) for row in rows)
            continue
        stored = [
            old for old, row in zip(earlier, rows, strict=True) if old is not None and same_request(old, row)
        ]
        if len(stored) == len(rows):
            placement.again[number] = stored
        else:
            placement.refused[number] = _first_other(rows, earlier)
    return placement


def find_first(digests: Mapping[Key, str], there: Mapping[Key, Record]) -> list[Record] | IdConflict | None:
    """Return the first answers to a request that is sent again; None where it was never answered.

    Parameters
    ----------
    digests : mapping
        The digest of each row as sent, by model and id.
    there : mapping
        What is stored of them; a row without a digest cannot be told from another, and counts as not answered.
    """
    answered = {key: there[key] for key in digests if key in there and there[key].request is not None}
    if not answered:
        return None
    for key, digest in digests.items():
        if key not in answered or answered[key].request != digest:
            return IdConflict(key[1])
    return list(answered.values())


def place_outcomes(
    puts: Sequence[Sequence[OutcomeRecord]], there: Mapping[Key, OutcomeRecord]
) -> tuple[list[OutcomeRecord], list[tuple[int, int, tuple[str, ...]]]]:
    """Return the outcomes to insert, and for each put how many of its are new, how many known, and the refused ids.

    Each outcome is placed by itself: one that contradicts what is known holds up no other.
    """
    fresh, counts, meant = [], [], dict(there)
    for rows in puts:
        new, refused = 0, []
        for row in rows:
            old = meant.setdefault(row[:2], row)
            if old is row:
                fresh.append(row)
                new += 1
            elif not same_value(old.outcome, row.outcome):
                refused.append(row.prediction_id)
        counts.append((new, len(rows) - new - len(refused), tuple(refused)))
    return fresh, counts


def same_request(old: Record, new: Record) -> bool:
    """Whether two records answer the same request: the same row as sent.

    Of rows without a digest the features and the entity are compared, unless the other's digest covers what the log
    does not hold. Position, version and answer may differ: a request that is sent again comes later, maybe to another
    champion.
    """
    if old.request is not None and new.request is not None:
        return old.request == new.request
    if SEALED in ((old.request or "")[:2], (new.request or "")[:2]):
        return False
    return old.entity == new.entity and same_value(old.features, new.features)


def same_value(one: str, other: str) -> bool:
    """Whether two JSON texts mean the same.

    >>> same_value('{"a":1,"b":null}', '{"b":null,"a":1.0}'), same_value('"1"', "1"), same_value("true", "1")
    (True, False, False)
    """
    return one == other or _typed(json.loads(one)) == _typed(json.loads(other))


def _typed(value: Any) -> Any:
    """Return a value in which true is not 1."""
    if isinstance(value, dict):
        return {name: _typed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    return ("bool", value) if isinstance(value, bool) else value


def _first_other(rows: Sequence[Record], earlier: Sequence[Record | None]) -> str:
    """Return the id that means something else; where none does, the first that is there: its request had other rows."""
    pairs = [(old, row) for old, row in zip(earlier, rows, strict=True) if old is not None]
    others = [row for old, row in pairs if not same_request(old, row)]
    return (others or [row for _, row in pairs])[0].prediction_id


_EXACT = 2**53
_BYTES = 20


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that bears a key, or ids, of its client."""

    ids: list[str]
    """Prediction id of each row: the client's own, or made from its key."""
    digests: list[str]
    """Digest of each row: its columns, who it is about and when, as sent; under a key also how many rows there
    were. Two rows in another shape, or in another order of columns, have the same."""


def idempotent_request(
    document: dict[str, Any], *, key: str | None, secret: bytes
) -> IdempotentRequest | None:
    """Return what a request claims to be; None for one with neither a key nor ids.

    No signature is asked: it is the same claim whichever version answers.

    Parameters
    ----------
    document : dict
        The request's body.
    key : str or None
        Its idempotency key. Keys of one model are reported apart by nothing else, as ids are.
    secret : bytes
        What digests are keyed with, at most 64 bytes, where they cover values that the log must not give away.

    Raises
    ------
    RequestRefused
        ``key_and_ids`` for a request with both; where the rows or ids cannot be told, as `decode` says it.
    """
    given = document.get("ids")
    if key is None and given is None:
        return None
    if key is not None and given is not None:
        raise refusal("key_and_ids", field="ids")
    rows = _rows(document)
    n = len(rows)
    who, when = _metadata(document, "entities", n), _metadata(document, "at", n)
    of = None if key is None else n
    digests = [_digest([*parts, of], secret) for parts in zip(rows, who, when, strict=True)]
    ids = read_ids(given, n=n)
    if ids is None:
        made = hashlib.sha256(f"\0{key}".encode()).hexdigest()[:40]
        ids = [f"{made}-{row}" for row in range(n)]
    return IdempotentRequest(ids, digests)


def _rows(document: dict[str, Any]) -> list[Any]:
    """Return the rows as they were sent: by column where their columns have names, else as lists."""
    given = [name for name in FORMS if name in document]
    held = document[given[0]] if len(given) == 1 else None
    if given == ["dataframe_split"]:
        split = held if isinstance(held, dict) else {}
        names, lists = split.get("columns"), split.get("data")
        if isinstance(names, list) and isinstance(lists, list):
            return [dict(_pairs(names, row)) for row in lists]
    elif isinstance(held, list):
        return held
    elif isinstance(held, dict):
        columns = list(held.values())
        lengths = {len(values) if isinstance(values, list) else -1 for values in columns}
        if len(lengths) == 1 and -1 not in lengths:
            return [dict(zip(held, row, strict=True)) for row in zip(*columns, strict=True)]
    raise refusal("wrong_shape/rows", field=given[0] if given else None)


def _pairs(names: list[Any], row: Any) -> list[tuple[str, Any]]:
    distinct = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    if not distinct or not isinstance(row, list) or len(row) != len(names):
        raise refusal("wrong_shape/rows", field="dataframe_split")
    return list(zip(names, row, strict=True))


def _metadata(document: dict[str, Any], name: str, n: int) -> list[Any]:
    """Return what stands beside each row; one value may stand for all."""
    given = document.get(name)
    if not isinstance(given, list):
        return [given] * n
    if len(given) != n:
        raise refusal("wrong_shape/rows", field=name)
    return given


def _digest(parts: list[Any], secret: bytes) -> str:
    encoded = msgspec.json.encode([_plain(part) for part in parts], order="deterministic")
    digest = hashlib.blake2b(encoded, key=secret, digest_size=_BYTES).hexdigest()
    return f"{SEALED}{digest}" if secret else digest


def _plain(value: Any) -> Any:
    """Return a value in which numbers that are equal are written alike, and nothing else is.

    >>> _plain({"a": 1, "b": -0.0, "c": True, "d": 2**60})
    {'a': 1.0, 'b': 0.0, 'c': True, 'd': ['int', '1152921504606846976']}
    """
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= _EXACT else ["int", str(value)]
    return value + 0.0 if isinstance(value, float) else value
