"""The scale signals are judged on: shares by their arcsine, whose spread does not depend on how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.drift.signals import SignalKey
from tasks.core.judging.budget import column_places
from tasks.core.metrics.scored import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Scale:
    """How k signals are put on the scale they are judged on, and back.

    A share p of n rows becomes arcsin √p, with the standard error 1 / (2 √n) whatever p is (Bartlett 1947): rare
    categories do not alarm by their skewness, and a stream that wanders does so as far up as down. Other signals
    stay as they are.

    Attributes
    ----------
    shares : array of bool, shape (k,)
        Which are shares of rows.
    missing : array, shape (k,)
        Place of the ``missing`` of a share's column, whose rows the share is not of; k: all rows.
    """

    shares: BoolArray
    missing: IntArray

    @classmethod
    def of(cls, keys: Sequence[SignalKey]) -> Scale:
        """Return the scale of these signals."""
        codes = column_places(keys)[1]
        gone = {int(codes[at]): at for at, key in enumerate(keys) if key.name == "missing"}
        of_present = [key.name.startswith("share:") or key.name == "unseen" for key in keys]
        missing = [
            gone.get(int(codes[at]), len(keys)) if of_present[at] else len(keys) for at in range(len(keys))
        ]
        is_missing = [key.name == "missing" for key in keys]
        return cls(
            shares=np.array(of_present, dtype=bool) | np.array(is_missing, dtype=bool),
            missing=np.array(missing, dtype=np.int64),
        )

    def put(self, values: FloatArray) -> FloatArray:
        """Return values on the scale, shape (…, k)."""
        return np.where(self.shares, np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0))), values)

    def back(self, values: FloatArray) -> FloatArray:
        """Return values on the scale in their own unit, shape (…, k)."""
        return np.where(self.shares, np.square(np.sin(np.clip(values, 0.0, np.pi / 2))), values)

    def put_errors(self, values: FloatArray, errors: FloatArray, *, rows: FloatArray | int) -> FloatArray:
        """Return standard errors on the scale, shape (…, k).

        Parameters
        ----------
        values, errors : array, shape (…, k)
            In their own unit.
        rows : int or array, shape (…, 1)
            Rows of the window.
        """
        gone = np.concatenate([values, np.zeros((*values.shape[:-1], 1))], axis=-1)[..., self.missing]
        present = np.maximum(rows * (1 - gone), 1.0)
        known = np.isfinite(errors)
        return np.where(self.shares & known, 0.5 / np.sqrt(present), errors)

    def put_own_errors(self, values: FloatArray, errors: FloatArray) -> FloatArray:
        """Return the errors of a reference whose rows are not at hand, by its shares' own errors."""
        share = np.clip(np.maximum(values, 0.7 * errors), 1e-12, 1 - 1e-12)
        share = np.minimum(share, np.maximum(1 - 0.7 * errors, 0.5))
        return np.where(self.shares, errors / (2 * np.sqrt(share * (1 - share))), errors)
