"""Cut the span of a live test into slices of the log, so that a look holds a bounded number of rows at once."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tasks.core.data.clock import Window
from tasks.core.metrics.scored import FloatArray

SLICE_ROWS = 200_000
"""Most predictions of a slice, ties aside."""


def cut_slices(positions: FloatArray, span: Window, *, most: int = SLICE_ROWS) -> list[Window]:
    """Return neighbouring windows that cover a span, each with at most so many rows, but for ties at its start.

    Parameters
    ----------
    positions : array, shape (n,)
        Ascending positions of the rows; those outside of the span are passed over.
    span : Window
        What to cover.
    most : int
        Most rows of a window; those of one position stay together.

    Examples
    --------
    >>> cut_slices(np.array([0.0, 1.0, 2.0, 2.5, 4.0, 5.0]), Window(0.5, 9.0), most=2)
    [Window(start=0.5, end=2.5), Window(start=2.5, end=5.0), Window(start=5.0, end=9.0)]
    """
    first, last = np.searchsorted(positions, [span.start, span.end])
    cuts = np.unique(positions[first:last][most::most])
    edges = [span.start, *(float(cut) for cut in cuts if cut > span.start), span.end]
    return [Window(start, end) for start, end in pairwise(edges)]
