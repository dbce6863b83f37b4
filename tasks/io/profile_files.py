"""Files as columns: Parquet column by column in small batches, CSV in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.errors import DataError, did_you_mean
from tasks.core.profiles.count import BLOCK
from tasks.core.profiles.grid import Grid
from tasks.core.profiles.profile import Profile, measure_profile
from tasks.io.sources_files import PANDAS_INDEX, Files, list_files

if TYPE_CHECKING:
    import pandas as pd

    from tasks.io.sources_csv import CsvLoader

_KEPT_OPEN = 32
_BUFFER = 1 << 18
"""Bytes read ahead of a column: of a file as little is held, however large its row groups."""


@dataclass(frozen=True)
class ParquetColumns:
    """Columns of Parquet files, read without pandas."""

    files: Files
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.files.origin

    @cached_property
    def names(self) -> list[str]:
        """Column names of the first file, without an index that pandas stored."""
        names = self._file(self.files.paths[0]).schema_arrow.names
        return [name for name in names if not PANDAS_INDEX.fullmatch(name)]

    @cached_property
    def rows(self) -> int:
        """Number of rows of all files, by their footers."""
        return sum(self._file(path).metadata.num_rows for path in self.files.paths)

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Yield record batches of these columns; text as dictionary codes.

        Raises
        ------
        DataError
            When a file cannot be read or lacks a column.
        """
        for path in self.files.paths:
            file = self._file(path)
            require_columns(columns, file.schema_arrow.names, origin=f"'{path}'")
            try:
                yield from file.iter_batches(batch_size=BLOCK, columns=list(columns), use_threads=False)
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(path, error) from error

    def _file(self, path: str) -> Any:
        """Return the file, opened once where the files are few: a footer is read in a millisecond, a column in ten."""
        if len(self.files.paths) > _KEPT_OPEN:
            return self._open(path)
        if path not in self._kept:
            self._kept[path] = self._open(path)
        return self._kept[path]

    def _open(self, path: str) -> Any:
        options = {"pre_buffer": False, "buffer_size": _BUFFER}
        local = "file" in self.files.system.protocol
        try:
            schema = pq.read_schema(path if local else self.files.open(path))
            names = [each.name for each in schema if not pa.types.is_nested(each.type)]
            source = path if local else self.files.open(path)
            return pq.ParquetFile(source, read_dictionary=names, **options)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from error


@dataclass(frozen=True)
class CsvColumns:
    """Columns of CSV files, read as a model's source reads them, chunk by chunk."""

    loader: CsvLoader

    @property
    def origin(self) -> str:
        """Name for messages."""
        return self.loader.origin

    @cached_property
    def names(self) -> list[str]:
        """Column names."""
        return self.loader.columns()

    def rows(self, columns: Sequence[str]) -> int:
        """Return the number of rows; reads these columns, which ``frames`` then gives sooner."""
        return self.loader.count(columns)

    def frames(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield the rows of these columns in chunks of one type a column."""
        return self.loader.stream(columns)

    def profile(self, columns: Sequence[str], grid: Grid) -> Profile:
        """Count the rows of these columns."""
        chunks = self.frames(columns)
        total = measure_profile(next(chunks), grid, columns=columns)
        for chunk in chunks:
            total += measure_profile(chunk, grid, columns=columns)
        return total


def open_columns(source: str | Path | Files | ParquetColumns | CsvColumns) -> ParquetColumns | CsvColumns:
    """Return the columns of a file, folder, glob or fsspec address; what is open already stays so.

    Raises
    ------
    DataError
        When there is none, or it is neither Parquet nor CSV.
    """
    if isinstance(source, ParquetColumns | CsvColumns):
        return source
    shown = str(source)
    files = (
        source
        if isinstance(source, Files)
        else list_files(shown, base=Path.cwd(), options={}, shown=shown, kind="files")
    )
    if files.kind == "parquet":
        return ParquetColumns(files)
    from tasks.core.data.clock import Clock
    from tasks.io.sources_csv import CsvLoader

    return CsvColumns(CsvLoader(files, Clock(None)))


def require_columns(wanted: Sequence[str], held: Sequence[str], *, origin: str) -> None:
    """Check that columns are there, each once.

    Raises
    ------
    DataError
        Naming the first that is not.
    """
    for name in wanted:
        if held.count(name) != 1:
            what = "twice in" if name in held else "missing from"
            raise DataError(
                f"Column '{name}' is {what} {origin}, which holds: {', '.join(held[:20])}."
                f"{did_you_mean(name, held) if name not in held else ''} Correct the data, or leave the column out."
            )


def _unreadable(path: str, error: Exception) -> DataError:
    what = (str(error).strip() or type(error).__name__).split("\n")[0].rstrip(".")
    return DataError(f"'{path}' cannot be read as Parquet: {what}. Write it again.")
