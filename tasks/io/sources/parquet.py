"""Parquet files: only the row groups that may hold the window, only the columns asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from evergreen.tasks.core.data.clock import Clock, Window
from evergreen.tasks.core.errors import DataError
from evergreen.tasks.io.sources.base import PANDAS_INDEX, Files

_NANOSECONDS = 9.2e9
"""Seconds from 1970 that nanoseconds can hold; bounds beyond it are not pushed down."""


@dataclass(frozen=True)
class ParquetLoader:
    """Parquet by ``pyarrow.dataset``: the clock's bounds skip row groups by their statistics."""

    files: Files
    clock: Clock

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.files.origin

    def columns(self) -> list[str]:
        """Return the column names; every file must have the same."""
        return list(self._schema().names)

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return the window's rows; text clocks and rows counted by order are narrowed batch by batch."""
        schema = self._schema()
        pushed = self._bounds(schema, window)
        try:
            dataset = ds.dataset(
                list(self.files.paths), schema=schema, format="parquet", filesystem=self.files.system
            )
            scanner = dataset.scanner(columns=list(columns), filter=pushed)
            if window is None or (pushed is not None and not self.clock.by_order):
                return _to_frame(scanner.to_table())
            return self._narrow(scanner.to_batches(), window)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.origin} cannot be read as Parquet: {_first_line(error)} Write it again."
            ) from error

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows in batches, in their order; of a file no more is held than a few batches."""
        schema = self._schema()
        try:
            dataset = ds.dataset(
                list(self.files.paths), schema=schema, format="parquet", filesystem=self.files.system
            )
            for batch in dataset.scanner(columns=list(columns), batch_readahead=1).to_batches():
                yield _to_frame(pa.Table.from_batches([batch]))
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.origin} cannot be read as Parquet: {_first_line(error)} Write it again."
            ) from error

    def _narrow(self, batches: Iterator[Any], window: Window) -> pd.DataFrame:
        kept: list[pd.DataFrame] = []
        offset = 0
        for batch in batches:
            frame = _to_frame(pa.Table.from_batches([batch]))
            frame.index = pd.RangeIndex(offset, offset + len(frame))
            offset += len(frame)
            positions = self.clock.positions(frame)
            inside = frame if positions is None else frame[window.mask(positions)]
            kept.append(inside if len(inside) or not kept else inside.iloc[:0])
            if self.clock.by_order and offset >= window.end:
                break
        filled = [frame for frame in kept if len(frame)] or kept[:1]
        return pd.concat(filled) if len(filled) > 1 else filled[0]

    def _schema(self) -> Any:
        """Return one schema for all files; a column may widen from file to file, but not come and go."""
        schemas = [self._file_schema(path) for path in self.files.paths]
        for path, schema in zip(self.files.paths[1:], schemas[1:], strict=True):
            if set(schema.names) != set(schemas[0].names):
                differs = ", ".join(sorted(set(schema.names) ^ set(schemas[0].names)))
                raise DataError(
                    f"'{path}' and '{self.files.paths[0]}' differ in columns: {differs}. Make them alike."
                )
        if len(schemas) == 1 or len(set(schemas[0].names)) < len(schemas[0].names):
            return schemas[0]
        try:
            return pa.unify_schemas([_without_codes(each) for each in schemas], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                f"The files of {self.origin} differ in types: {_first_line(error)} Make them alike."
            ) from error

    def _file_schema(self, path: str) -> Any:
        try:
            with self.files.open(path) as file:
                schema = pq.read_schema(file).remove_metadata()
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"'{path}' cannot be read as Parquet: {_first_line(error)} Write it again."
            ) from error
        return pa.schema([field for field in schema if not PANDAS_INDEX.fullmatch(field.name)])

    def _bounds(self, schema: Any, window: Window | None) -> Any:
        """Return a filter that keeps at least the window's rows and those without a time; None where it cannot."""
        if window is None or self.clock.column is None:
            return None
        kind = schema.field(self.clock.column).type
        field = ds.field(self.clock.column)
        start, end = (_scalar(bound, kind, self.clock.kind) for bound in (window.start, window.end))
        if start is None and end is None:
            return None
        inside = pa.compute.scalar(True) if start is None else field >= start
        inside = inside if end is None else inside & (field <= end)
        return inside | field.is_null()


def _scalar(bound: float, kind: Any, clock: str) -> Any:
    """Return a bound in the column's own type, rounded so that no row of the window is lost; None: not pushed."""
    if not math.isfinite(bound):
        return None
    if clock != "timestamp":
        if pa.types.is_integer(kind):
            return pa.scalar(int(np.rint(bound)), pa.int64()) if abs(bound) < 2.0**53 else None
        return pa.scalar(bound, pa.float64()) if pa.types.is_floating(kind) else None
    if abs(bound) > _NANOSECONDS:
        return None
    if pa.types.is_timestamp(kind):
        per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
        return pa.scalar(round(bound * 10**6) * per_second // 10**6, kind)
    return pa.scalar(math.floor(bound / 86400), pa.int32()).cast(kind) if pa.types.is_date32(kind) else None


def _without_codes(schema: Any) -> Any:
    """Return the schema with categories as their values: each file has its own codes."""
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in schema
    ]
    return pa.schema(plain)


def _to_frame(table: Any) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    return frame


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") + "."
