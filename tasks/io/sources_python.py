"""A Python function as a source: it returns a frame, or yields frames; it may take the window and the columns."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from tasks.core.data.clock import Clock, Window
from tasks.core.data.columns import require_distinct
from tasks.core.errors import ConfigError, DataError, did_you_mean

_OFFERED = ("start", "end", "columns")


@dataclass(frozen=True)
class PythonLoader:
    """Calls ``package.module:function`` with ``data.options``.

    A function with parameters named ``start``, ``end`` (positions on the clock, None where open) or ``columns``
    is given them and may return less; one without them is asked once, and its frame is kept. The same arguments
    must give the same rows.
    """

    address: str
    options: dict[str, Any]
    clock: Clock
    _kept: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @property
    def origin(self) -> str:
        """Name for messages."""
        return f"'{self.address}'"

    def columns(self) -> list[str]:
        """Return the columns of the first frame."""
        return [str(name) for name in next(self._frames(None, None)).columns]

    def load(self, columns: Sequence[str], window: Window | None) -> pd.DataFrame:
        """Return the window's rows, frame by frame."""
        kept, offset = [], 0
        for frame in self._frames(columns, window):
            self._require(frame, columns)
            counted = frame.set_axis(pd.RangeIndex(offset, offset + len(frame)))
            offset += len(frame)
            positions = self.clock.positions(counted) if window else None
            inside = counted if positions is None or window is None else counted[window.mask(positions)]
            kept.append(inside[list(columns)])
        filled = [frame for frame in kept if len(frame)] or kept[:1]
        return pd.concat(filled) if len(filled) > 1 else filled[0]

    def stream(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield all rows, frame by frame as the function gives them."""
        for frame in self._frames(columns, None):
            self._require(frame, columns)
            yield frame[list(columns)]

    def _frames(self, columns: Sequence[str] | None, window: Window | None) -> Iterator[pd.DataFrame]:
        function = self._function()
        taken = inspect.signature(function).parameters
        offered = {
            "start": None if window is None or window.start == -float("inf") else window.start,
            "end": None if window is None or window.end == float("inf") else window.end,
            "columns": None if columns is None else list(columns),
        }
        given = {name: offered[name] for name in _OFFERED if name in taken and name not in self.options}
        if not given and "frame" in self._kept:
            yield self._kept["frame"]
            return
        result = function(**self.options, **given)
        if isinstance(result, pd.DataFrame):
            if not given:
                self._kept["frame"] = result
            yield result
            return
        yield from self._checked(result)

    def _require(self, frame: pd.DataFrame, columns: Sequence[str]) -> None:
        require_distinct([str(name) for name in frame.columns], origin=self.origin)
        missing = [name for name in columns if name not in frame.columns]
        if missing:
            raise DataError(f"A frame of {self.origin} lacks column '{missing[0]}'. Yield it in every frame.")

    def _checked(self, result: Any) -> Iterator[pd.DataFrame]:
        frames: Iterable[Any] = result if isinstance(result, Iterable) else (result,)
        count = 0
        for frame in frames:
            if not isinstance(frame, pd.DataFrame):
                raise DataError(
                    f"{self.origin} gave {type(frame).__name__}; it must return or yield pandas DataFrames."
                )
            count += 1
            yield frame
        if count == 0:
            raise DataError(
                f"{self.origin} yielded nothing; yield at least one frame, if only with its columns."
            )

    def _function(self) -> Callable[..., Any]:
        module_name, _, name = self.address.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not module_name.startswith(error.name):
                raise
            raise ConfigError(
                f"data.source '{self.address}': there is no module '{error.name}'. Correct it or set PYTHONPATH."
            ) from None
        function = getattr(module, name, None)
        if not callable(function):
            names = [each for each in dir(module) if not each.startswith("_")]
            raise ConfigError(
                f"data.source '{self.address}': module '{module_name}' has no function '{name}'."
                f"{did_you_mean(name, names)} Correct data.source."
            )
        return function  # type: ignore[no-any-return]
