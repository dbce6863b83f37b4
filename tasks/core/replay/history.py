"""A model's labelled history in memory, cut off as of any moment without copying what came before."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from tasks.core.config import ModelConfig
from tasks.core.data.clock import Window
from tasks.core.data.columns import clock_columns
from tasks.core.data.rows import Parts, Rows
from tasks.core.data.split import SplitPlan, assign_parts, plan_split, rows_needed_from
from tasks.core.errors import DataError, InputError
from tasks.core.metrics.scored import FloatArray
from tasks.core.retraining.labels import known_labels
from tasks.core.retraining.words import Labels


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """All rows of a model, each with the label it has in the end.

    Attributes
    ----------
    rows : Rows
        In clock order, with every column the model needs.
    slim : Rows
        The same rows with the few columns that a split is planned from.
    positions : array, shape (n,)
        Ascending places on the clock.
    """

    rows: Rows
    slim: Rows
    positions: FloatArray

    @classmethod
    def of(cls, rows: Rows, config: ModelConfig) -> History:
        """Return the history of a model's rows.

        Raises
        ------
        InputError
            When the model has no clock to replay by.
        DataError
            When there are no rows, or they are not in clock order.
        """
        if rows.positions is None or not config.timed:
            raise InputError(
                f"'{config.model}' has no clock that its rows are divided by, so there is no past to replay. Name "
                "data.time, or write data.clock: rows; leave split.method at auto or time."
            )
        if not len(rows):
            raise DataError(f"The data of '{config.model}' hold no rows, so there is no past to replay.")
        positions = np.asarray(rows.positions, dtype=np.float64)
        if (positions[1:] < positions[:-1]).any():
            raise DataError("The rows of a history must be in clock order. Sort them by their positions.")
        slim = Rows(rows.frame[clock_columns(config)], positions)
        return cls(rows=Rows(rows.frame, positions), slim=slim, positions=positions)

    def __len__(self) -> int:
        return len(self.positions)

    def count(self, until: float) -> int:
        """Return how many rows lie before a position."""
        return int(np.searchsorted(self.positions, until, side="left"))

    def seen(self, since: float, until: float) -> FloatArray:
        """Return the positions from ``since`` to ``until``, both included."""
        first = np.searchsorted(self.positions, since, side="left")
        return self.positions[first : np.searchsorted(self.positions, until, side="right")]

    def between(self, window: Window) -> Rows:
        """Return the rows of a slice of the clock, numbered from 0."""
        first, last = self.count(window.start), self.count(window.end)
        return Rows(self.rows.frame.iloc[first:last].reset_index(drop=True), self.positions[first:last])

    def before(self, until: float) -> History:
        """Return the history as if nothing from a position on had happened yet."""
        count = self.count(until)
        return History(
            rows=_head(self.rows, count), slim=_head(self.slim, count), positions=self.positions[:count]
        )

    def labels(self, config: ModelConfig, *, until: float) -> Labels:
        """Return the rows whose label is known as of a moment."""
        return known_labels(_head(self.slim, self.count(until)), config, until=until)

    def parts(
        self,
        config: ModelConfig,
        *,
        until: float,
        refit: bool = False,
        change_at: float | None = None,
        plan: SplitPlan | None = None,
    ) -> Parts:
        """Return training, holdout and evaluation rows as of a moment, as `tasks.data.load_parts` reads them.

        Raises
        ------
        NotLearnable
            When a part would be empty.
        """
        slim = _head(self.slim, self.count(until))
        used = plan or plan_split(slim, config, until=until, refit=refit, change_at=change_at)
        rows = self.between(Window(rows_needed_from(slim, used), until))
        return assign_parts(rows, used, drop_duplicates=config.data.drop_duplicates)


def _head(rows: Rows, count: int) -> Rows:
    positions = None if rows.positions is None else rows.positions[:count]
    return dataclasses.replace(rows, frame=rows.frame.iloc[:count], positions=positions)
