"""Slices of a live test's span: together all of it, none too large."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evergreen.tasks.core.ab_testing.evidence import cut_slices
from evergreen.tasks.core.data.clock import Window


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 9))
def test_each_row_of_the_span_is_in_one_slice_and_few_are_in_each(places, most):
    positions, span = np.sort(np.array(places, dtype=np.float64)), Window(3.0, 30.0)
    slices = cut_slices(positions, span, most=most)
    counts = [int(one.mask(positions).sum()) for one in slices]
    assert span.mask(positions).sum() == sum(counts)
    assert (span.start, span.end) == (slices[0].start, slices[-1].end)
    assert [one.end for one in slices[:-1]] == [one.start for one in slices[1:]]
    ties = max(np.unique(positions, return_counts=True)[1], default=0)
    assert max(counts) <= most + max(ties - 1, 0)


def test_a_test_without_rows_is_one_slice():
    assert [Window(2.0, 5.0)] == cut_slices(np.zeros(0), Window(2.0, 5.0))
    assert [Window(2.0, 2.0)] == cut_slices(np.array([2.0]), Window(2.0, 2.0))
