"""Rows with their places on the clock, and the three parts a model's rows are divided into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.core.data.rowhash import fingerprint
from tasks.core.data.split_plan import SplitPlan
from tasks.core.verdict import Reason


@dataclass(frozen=True)
class Rows:
    """A frame and the clock positions of its rows.

    Attributes
    ----------
    frame : pandas.DataFrame
        n rows, in clock order where there is a clock; never mutated.
    positions : numpy.ndarray or None
        float64 of shape (n,); None without a clock.
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
    training, holdout, evaluation : Rows
        What is learned from; what the gate judges on; what champion and challenger meet on.
    plan : SplitPlan
        How they were divided; applied again it gives the same parts.
    duplicates : int
        Rows that repeat an earlier one in every column read (dropped where the config says so).
    unlabelled : int
        Rows read whose label is not known (or was not yet): in no part.
    fingerprint : str
        SHA-256 of the rows in the three parts.
    warnings, notes : tuple[Reason, ...]
        What should worry a reader; what is merely said.
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
