"""What a client says is one request: the ids of its rows, and a digest of each row as it was sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from tasks.core.serving.beside import read_ids
from tasks.core.serving.forms import FORMS
from tasks.core.serving.once import SEALED
from tasks.core.serving.refused import Refused

_EXACT = 2**53
_BYTES = 20


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that bears a key, or ids, of its client.

    Attributes
    ----------
    ids : list of str
        Prediction id of each row: the client's own, or made from its key.
    digests : list of str
        Digest of each row: its columns, who it is about and when, as sent; under a key also how many rows there were.
        Two rows in another shape, or in another order of columns, have the same.
    """

    ids: list[str]
    digests: list[str]


def claim_of(document: dict[str, Any], *, key: str | None, secret: bytes) -> Claim | None:
    """Return what a request claims to be; None for one with neither a key nor ids.

    No signature is asked: it is the same claim whichever version answers.

    Parameters
    ----------
    document : dict
        The request's body.
    key : str or None
        Its idempotency key. Keys of one model are told apart by nothing else, as ids are.
    secret : bytes
        What digests are keyed with, at most 64 bytes, where they cover values that the log must not give away.

    Raises
    ------
    Refused
        ``key_and_ids`` for a request with both; where the rows or ids cannot be told, as `decode` says it.
    """
    given = document.get("ids")
    if key is None and given is None:
        return None
    if key is not None and given is not None:
        raise Refused(
            422,
            "key_and_ids",
            "The request has an Idempotency-Key and ids of its own; either says which predictions it is. Send one of "
            "them.",
            field="ids",
        )
    rows = _rows(document)
    n = len(rows)
    who, when = _beside(document, "entities", n), _beside(document, "at", n)
    of = None if key is None else n
    digests = [_digest([*parts, of], secret) for parts in zip(rows, who, when, strict=True)]
    ids = read_ids(given, n=n)
    return Claim(_made_ids(str(key), n) if ids is None else ids, digests)


def _made_ids(key: str, n: int) -> list[str]:
    digest = hashlib.sha256(f"\0{key}".encode()).hexdigest()[:40]
    return [f"{digest}-{row}" for row in range(n)]


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
    raise _untold(given[0] if given else None)


def _pairs(names: list[Any], row: Any) -> list[tuple[str, Any]]:
    distinct = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    if not distinct or not isinstance(row, list) or len(row) != len(names):
        raise _untold("dataframe_split")
    return list(zip(names, row, strict=True))


def _beside(document: dict[str, Any], name: str, n: int) -> list[Any]:
    """Return what stands beside each row; one value may stand for all."""
    given = document.get(name)
    if not isinstance(given, list):
        return [given] * n
    if len(given) != n:
        raise _untold(name)
    return given


def _untold(field: str | None) -> Refused:
    return Refused(400, "wrong_shape", "The rows of the request cannot be told apart.", field=field)


def _digest(parts: list[Any], secret: bytes) -> str:
    said = msgspec.json.encode([_plain(part) for part in parts], order="deterministic")
    digest = hashlib.blake2b(said, key=secret, digest_size=_BYTES).hexdigest()
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
