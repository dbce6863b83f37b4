"""Where a model's rows come from: one protocol over files, databases and Python generators."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import pandas as pd

from evergreen.tasks.core.config import ModelConfig
from evergreen.tasks.core.data.clock import Clock, Window
from evergreen.tasks.core.data.columns import require_columns, require_distinct, require_withheld
from evergreen.tasks.core.data.rows import Rows, normalise
from evergreen.tasks.core.errors import ConfigError, DataError, Unreachable
from evergreen.tasks.io.plugins import SOURCES
from evergreen.tasks.io.sources.base import (
    PythonLoader,
    SourceRequest,
    detect_format,
    list_files,
    require_present,
)
from evergreen.tasks.io.sources.files import CsvLoader, ParquetLoader
from evergreen.tasks.io.sources.sql import SqlLoader


class Loader(Protocol):
    """One kind of source."""

    @property
    def origin(self) -> str:
        """Name for messages, free of secrets."""

    def columns(self) -> list[str]:
        """Return the column names as the source has them, repeated ones included."""

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return these columns of at least the window's rows; the index numbers the rows where order counts."""

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield these columns of all rows part by part, always in the same order where the source has one."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A model's rows: reads a window and only the requested columns."""

    config: ModelConfig
    """The model."""
    loader: Loader
    """The kind of source."""

    @property
    def clock(self) -> Clock:
        """Where rows stand on the clock."""
        data = self.config.data
        return Clock(data.time, data.clock, data.time_format)

    @property
    def origin(self) -> str:
        """Name of the source for messages and records, free of secrets."""
        return self.loader.origin

    def columns(self) -> list[str]:
        """Return the column names.

        Raises
        ------
        DataError
            When one is there twice, or one the configuration names is not.
        """
        names = self.loader.columns()
        require_columns(names, self.config, origin=self.origin)
        require_withheld(names, self.config, origin=self.origin)
        return names

    def read(self, window: Window | None = None, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the rows of a window, in clock order where there is a clock.

        Parameters
        ----------
        window : Window, optional
            Half-open slice of the clock; all rows by default.
        columns : sequence of str, optional
            Columns to read; all by default.

        Raises
        ------
        DataError
            When the source or a column is missing or cannot be read.
        Unreachable
            When a server does not answer.
        """
        return self.read_rows(window, columns=columns).frame

    def read_rows(self, window: Window | None = None, *, columns: Sequence[str] | None = None) -> Rows:
        """Return what ``read`` returns, with the positions of its rows."""
        present = self.columns()
        require_present(columns or (), present, origin=self.origin)
        wanted = present if columns is None else list(columns)
        clock = self.clock
        if window is not None and clock.column is None and not clock.by_order:
            raise DataError(f"{self.origin} has no clock, so no window of it can be read. Name data.time.")
        needed = [*wanted, clock.column] if clock.column and clock.column not in wanted else wanted
        loaded = self.loader.load(needed, window)
        require_distinct([str(name) for name in loaded.columns], origin=self.origin)
        frame = normalise(loaded, numeric=self.config.data.numeric or ())
        return _in_order(frame, clock.positions(frame), window, wanted, keep_index=clock.by_order)


@contextmanager
def named_as(argument: str) -> Iterator[None]:
    """Say in errors of a source the argument that it was typed as (``--source``) in place of ``data.source``."""
    try:
        yield
    except (ConfigError, DataError, Unreachable) as error:
        raise type(error)(str(error).replace("data.source", argument)) from error


def open_source(config: ModelConfig, *, base: Path, secret: Callable[[str], str] | None = None) -> Source:
    """Return the source a configuration names; nothing is read yet but the first bytes of files.

    Parameters
    ----------
    config : ModelConfig
        The model; ``data.source`` may be ``env:NAME`` or ``secret:BLOCK``.
    base : Path
        Folder that relative paths start at.
    secret : callable, optional
        Looks up a secret block by name.

    Raises
    ------
    ConfigError
        When the kind of source is unknown, a name cannot be looked up, or keys contradict each other.
    DataError
        When a file is missing, empty or of another kind.
    """
    data = config.data
    address, shown = _resolve_address(data.source, secret), data.source
    kind = detect_format(address) if data.format == "auto" else data.format
    if (data.table or data.query) and kind in {"files", "csv", "parquet", "python"}:
        raise ConfigError(
            f"data.table and data.query need a database, but data.source '{shown}' is {kind}. Remove them."
        )
    request = SourceRequest(
        address=address,
        shown=shown,
        base=base,
        clock=Clock(data.time, data.clock, data.time_format),
        options=dict(data.options),
        table=data.table,
        query=data.query,
    )
    return Source(config=config, loader=open_loader(request, kind=kind))


# What is registered as a kind of source: it opens an address.


@dataclass(frozen=True)
class FrameLoader:
    """A frame that was read whole, as a source."""

    frame: pd.DataFrame
    origin: str

    def columns(self) -> list[str]:
        """Return the column names."""
        return [str(name) for name in self.frame.columns]

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return these columns of all rows, numbered as they came."""
        return self.frame[list(columns)].reset_index(drop=True)

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield these columns at once."""
        yield self.load(columns, None)


@dataclass(frozen=True, kw_only=True)
class SourceKind:
    """How one kind of source is opened: ``function(request)`` returns a `Loader`, or a DataFrame."""

    name: str
    function: Callable[[SourceRequest], Any]

    def open(self, request: SourceRequest) -> Loader:
        """Open an address.

        Raises
        ------
        ConfigError
            When the function gives neither a loader nor a frame.
        """
        loader = self.function(request)
        if isinstance(loader, pd.DataFrame):
            return FrameLoader(loader, f"'{request.shown}'")
        if not all(hasattr(loader, name) for name in ("origin", "columns", "load", "stream")):
            raise ConfigError(
                f"The source '{self.name}' gave a {type(loader).__name__}, allowed is a DataFrame or a loader (origin, "
                "columns, load, stream: evergreen.tasks.io.sources.open.Loader). Correct the function."
            )
        return cast("Loader", loader)


@SOURCES.reader
def _as_source(name: str, thing: Any) -> SourceKind:
    return (
        replace(thing, name=name) if isinstance(thing, SourceKind) else SourceKind(name=name, function=thing)
    )


def source(name: str) -> Callable[[Callable[[SourceRequest], Any]], SourceKind]:
    """Decorate a function that opens a kind of source: ``data.format: NAME``, or ``NAME://…`` as an address."""
    return SOURCES.register(name)


def open_loader(request: SourceRequest, *, kind: str) -> Loader:
    """Open an address as a kind of source; ``files``: CSV or Parquet by their ending and first bytes.

    Raises
    ------
    UnknownName
        When no such kind is registered.
    """
    if kind == "files":
        return _open_files(request, kind)
    opened: Loader = SOURCES.get(kind).open(request)
    return opened


@source("csv")
def _csv(request: SourceRequest) -> Loader:
    return _open_files(request, "csv")


@source("parquet")
def _parquet(request: SourceRequest) -> Loader:
    return _open_files(request, "parquet")


@source("sql")
def _sql(request: SourceRequest) -> Loader:
    return SqlLoader(request)


@source("python")
def _python(request: SourceRequest) -> Loader:
    return PythonLoader(request.address, request.options, request.clock)


def _open_files(request: SourceRequest, kind: str) -> Loader:
    files = list_files(request, kind=kind)
    loader = ParquetLoader if files.kind == "parquet" else CsvLoader
    return loader(files, request.clock)


def _resolve_address(source: str, secret: Callable[[str], str] | None) -> str:
    """Return the address that a source names, which may be secret."""
    scheme, _, name = source.partition(":")
    if scheme == "env":
        if name not in os.environ:
            raise ConfigError(
                f"data.source asks for the environment variable '{name}', which is not set. Set it."
            )
        return os.environ[name]
    if scheme == "secret":
        if secret is None:
            raise ConfigError(
                f"data.source asks for the secret block '{name}', which only a flow can look up."
            )
        return secret(name)
    return source


def _in_order(
    frame: pd.DataFrame,
    positions: np.ndarray | None,
    window: Window | None,
    wanted: list[str],
    *,
    keep_index: bool,
) -> Rows:
    """Return the window's rows in clock order (rows at one position stay as they came)."""
    rows = frame[wanted]
    if positions is not None:
        places = np.flatnonzero(window.mask(positions)) if window else np.arange(len(frame))
        unordered = bool((positions[1:] < positions[:-1]).any())
        if unordered:
            places = places[np.argsort(positions[places], kind="stable")]
        if unordered or len(places) < len(frame):
            rows, positions = rows.iloc[places], positions[places]
    return Rows(rows if keep_index else rows.reset_index(drop=True), positions)
