"""Rows with their places on the clock, and the three parts a model's rows are divided into."""

from __future__ import annotations

import hashlib
import json
import numbers
from collections.abc import Collection
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.config.units import Span, parse_span
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.serial import Struct
from evergreen.tasks.core.verdict import Reason

# One set of column types for every source: float64, int64, bool, timestamps and plain objects.


def normalise(frame: pd.DataFrame, *, numeric: Collection[str] = ()) -> pd.DataFrame:
    """Return a new frame of plain types; the given one is left as it is, and shares what needed no change.

    Categories and text types become objects, nullable and Arrow types their NumPy kin (whole numbers with nulls
    become floats), decimals and 32-bit floats float64, and text in the columns listed as ``numeric`` is read as
    numbers where it all can be.
    """
    columns = {name: _plain(frame[name], name in numeric) for name in frame.columns}
    return pd.DataFrame(columns, index=frame.index, columns=frame.columns, copy=False)


def _plain(column: pd.Series, wanted_numeric: bool) -> pd.Series:
    kind = column.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return _plain(column.astype(kind.categories.dtype), wanted_numeric)
    if isinstance(kind, pd.ArrowDtype):
        column = pd.Series(column.array.to_numpy(), index=column.index, name=column.name)
        return _plain(column.infer_objects(), wanted_numeric)
    if pd.api.types.is_extension_array_dtype(kind) and not isinstance(kind, pd.DatetimeTZDtype):
        return _plain(_without_extension(column), wanted_numeric)
    if pd.api.types.is_float_dtype(kind):
        return column.astype(np.float64, copy=False)
    if pd.api.types.is_integer_dtype(kind):
        return column.astype(np.float64 if kind == np.uint64 else np.int64, copy=False)
    return _plain_objects(column, wanted_numeric) if pd.api.types.is_object_dtype(kind) else column


def _without_extension(column: pd.Series) -> pd.Series:
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        whole = pd.api.types.is_integer_dtype(column.dtype) and not column.isna().any()
        return column.astype(np.int64) if whole else column.astype(np.float64)
    if pd.api.types.is_bool_dtype(column.dtype) and not column.isna().any():
        return column.astype(bool)
    values = [None if null else value for value, null in zip(column, column.isna(), strict=True)]
    return pd.Series(values, column.index)


def _plain_objects(column: pd.Series, wanted_numeric: bool) -> pd.Series:
    if pd.api.types.infer_dtype(column, skipna=True) == "decimal":
        return column.map(lambda value: float(value) if isinstance(value, Decimal) else np.nan).astype(float)
    if wanted_numeric:
        numbers = pd.to_numeric(column, errors="coerce")
        if bool((numbers.notna() | column.isna()).all()):
            return numbers.astype(np.float64)
    return column


# What identifies a row across snapshots: a hash of its content that survives dtypes, column order and releases.


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


# A split as a frozen description: it can be stored with a version and applied again.


_NO_SPAN = Span(0.0, "seconds", "0s")
_AS_TEXT = {"write": str, "read": parse_span}


@dataclass(frozen=True, kw_only=True)
class SplitPlan(Struct):
    """How labelled rows were divided, and which rows the version trained by it has not used.

    Attributes
    ----------
    method : by the clock, or by a hash of each row's content.
    clock : unit of the windows (see ``evergreen.tasks.core.data.clock``).
    training, holdout, evaluation : half-open slices (method ``time``); None where a part does not exist. A row belongs
        to training only if its label was known, and ``purge`` over, when the next part begins.
    until : as of when: nothing at or after it, no label known after it; None: all.
    unseen_from : rows from here on were neither trained nor tuned on (method ``time``).
    change_at : position of the last detected change, where ``retraining.window: since_change`` begins; None: none.
    purge, label_delay : the gap for overlapping targets; the time until a label is known where no column gives it.
    time, label_time, group, target : columns with these roles when the plan was made.
    time_format : strptime format of the clock's columns where they are not ISO 8601.
    max_rows : training keeps the newest rows up to this number; None: all.
    holdout_share, evaluation_share : shares of a random split (holdout: of what evaluation leaves).
    identity : columns whose content decides a row's part (method ``random``).
    seed : of a random split.
    notes : decisions worth a remark, e.g. a default window that did not fit.
    """

    method: Literal["time", "random"]
    clock: str = "timestamp"
    training: Window | None = None
    holdout: Window | None = None
    evaluation: Window | None = None
    until: float | None = None
    unseen_from: float | None = None
    change_at: float | None = None
    purge: Span = field(default=_NO_SPAN, metadata=_AS_TEXT)
    label_delay: Span = field(default=_NO_SPAN, metadata=_AS_TEXT)
    time: str | None = None
    time_format: str | None = None
    label_time: str | None = None
    group: str | None = None
    target: str | None = None
    max_rows: int | None = None
    holdout_share: float = 0.0
    evaluation_share: float = 0.0
    identity: tuple[str, ...] = ()
    seed: int = 0
    notes: tuple[Reason, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; windows carry exact positions and readable text."""
        windows = {name: getattr(self, name) for name in ("training", "holdout", "evaluation")}
        return super().to_dict() | {
            name: one.to_dict(clock=self.clock) if one else None for name, one in windows.items()
        }


_OF_DATA = ("clock", "label_delay", "time", "time_format", "label_time", "group", "target")


def draft_plan(config: ModelConfig, *, until: float | None = None) -> SplitPlan:
    """Return a plan without windows: the roles, gaps and seed of the configuration."""
    data, split = config.data, config.split
    return SplitPlan(
        method="time" if config.timed else "random",
        until=until,
        **{name: getattr(data, name) for name in _OF_DATA},
        **{name: getattr(split, name) for name in ("purge", "max_rows", "seed")},
    )


@dataclass(frozen=True)
class Rows:
    """A frame and the clock positions of its rows.

    Attributes
    ----------
    frame : n rows, in clock order where there is a clock; never mutated.
    positions : float64 of shape (n,); None without a clock.
    """

    frame: pd.DataFrame
    positions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def places(self) -> np.ndarray:
        """Positions of rows that are known to have some; 0 each without a clock."""
        return np.zeros(len(self.frame)) if self.positions is None else self.positions

    def take(self, chosen: np.ndarray) -> Rows:
        """Return the rows of a boolean mask or of integer places, their index renumbered."""
        places = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        positions = None if self.positions is None else self.positions[places]
        return Rows(self.frame.iloc[places].reset_index(drop=True), positions)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows' content."""
        return fingerprint(self.frame)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The labelled rows of a model, divided; no row is in two parts.

    Attributes
    ----------
    training, holdout, evaluation : rows to train on; for the gate; for the comparison of champion and challenger.
    plan : how they were divided; applied again it gives the same parts.
    duplicates : rows that repeat an earlier one in every column read (dropped where the configuration says so).
    unlabelled : rows read whose label is not known (or was not yet): in no part.
    fingerprint : SHA-256 of the rows in the three parts.
    warnings, notes : what needs attention; what is only information.
    """

    training: Rows
    holdout: Rows
    evaluation: Rows
    plan: SplitPlan
    duplicates: int
    unlabelled: int
    fingerprint: str
    warnings: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()
