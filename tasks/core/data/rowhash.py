"""What identifies a row across snapshots: a hash of its content that survives dtypes, column order and releases."""

from __future__ import annotations

import hashlib
import json
import numbers
from typing import Any

import numpy as np
import pandas as pd

_NULL = np.uint64(0x9E3779B97F4A7C15)


def hash_rows(frame: pd.DataFrame, *, seed: int = 0) -> np.ndarray:
    """Return one 64-bit hash per row, uint64 of shape (n,).

    Equal content hashes equally whatever the dtype it arrived in (``1``, ``1.0`` and ``True``; ``-0.0`` and ``0``;
    NaN, None and NaT; a category and its text), whatever the order of columns, and in every later release: the
    function is our own (splitmix64, Steele, Lea & Flood 2014; blake2b for text) and tests hold its values.
    Integers beyond 2**53 are hashed as the nearest float.
    """
    total = np.full(len(frame), _text_hash(f"evergreen:{seed}"), dtype=np.uint64)
    for name in sorted(frame.columns):
        total = _mix(total * np.uint64(31) ^ (_hash_column(frame[name]) + _text_hash(str(name))))
    return total


def unit_interval(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes as numbers in [0, 1), float64 of shape (n,)."""
    return (hashes >> np.uint64(11)).astype(np.float64) / 2.0**53


def fingerprint(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of column names and row hashes, independent of the order of rows and columns."""
    digest = hashlib.sha256(json.dumps(sorted(map(str, frame.columns))).encode())
    digest.update(np.sort(hash_rows(frame)).astype("<u8").tobytes())
    return digest.hexdigest()


def _mix(values: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers (the finaliser of splitmix64); arithmetic wraps on purpose."""
    mixed = values + _NULL
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)))


def _hash_column(column: pd.Series) -> np.ndarray:
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        micro = pd.to_datetime(column, utc=True).dt.tz_localize(None).to_numpy(dtype="datetime64[us]")
        return np.where(np.isnat(micro), _NULL, _mix(micro.astype(np.int64).view(np.uint64)))
    if pd.api.types.is_numeric_dtype(column.dtype):
        return _hash_numbers(column.to_numpy(dtype=np.float64, na_value=np.nan))
    codes, uniques = pd.factorize(column.astype(object))
    table = np.array([_hash_value(value) for value in uniques] + [_NULL], dtype=np.uint64)
    return np.asarray(table[codes])


def _hash_numbers(values: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(values + 0.0).view(np.uint64)
    return np.where(np.isnan(values), _NULL, _mix(bits))


def _hash_value(value: Any) -> np.uint64:
    if isinstance(value, numbers.Number) and not isinstance(value, complex):
        return np.uint64(_hash_numbers(np.array([float(value)]))[0])  # type: ignore[arg-type]
    return _text_hash(str(value))


def _text_hash(text: str) -> np.uint64:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))
