"""Charts of two distributions: what they show, what they must not let through."""

from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.reports.charts import CELLS, Distribution, histogram


def chart(labels, reference, current, *, title, ticks=()):
    """Return the chart of two distributions."""
    return Distribution(labels=labels, reference=reference, current=current, ticks=ticks).draw(title)


def drawn(reference, current):
    """Return the histogram of two columns of numbers."""
    frames = [pd.DataFrame({"x": np.asarray(side, dtype=float)}) for side in (reference, current)]
    grid = make_grid(frames[0], categorical=frozenset())
    sides = [measure_profile(frame, grid).columns["x"] for frame in frames]
    return histogram(grid.columns["x"], *sides)


def titles(svg):
    return [node.text for node in ElementTree.fromstring(svg).iter("title")]


def test_a_histogram_is_that_of_the_values():
    rng = np.random.default_rng(0)
    reference, current = rng.normal(size=20_000), rng.normal(1, 1, 5_000)
    found = drawn(reference, current)
    borders = [float(label.split(" – ")[0]) for label in found.labels[1:-1]]
    for side, shares in ((reference, found.reference), (current, found.current)):
        exact = np.histogram(side, bins=[-np.inf, *borders, float(found.labels[-1].split()[1]), np.inf])[0]
        assert exact / len(side) == pytest.approx(shares, abs=0.02)


def test_rows_without_a_number_are_not_in_the_histogram():
    found = drawn([*range(100)] * 5, [*range(100), *[np.nan] * 60, *[np.inf] * 40])
    assert (1.0, 0.5) == pytest.approx((sum(found.reference), sum(found.current)))


@settings(max_examples=50, deadline=None)
@given(*[st.lists(st.floats(-1e300, 1e300) | st.integers(-5, 5), min_size=1, max_size=60) for _ in range(2)])
def test_every_finite_row_is_somewhere(reference, current):
    found = drawn(reference, current)
    assert (1.0, 1.0) == pytest.approx((sum(found.reference), sum(found.current)))
    assert len(found.labels) == len(found.reference) == len(found.current)
    assert len(found.ticks) in (0, len(found.labels) + 1)


def test_few_values_are_shown_one_by_one():
    found = drawn([0] * 60 + [1] * 40, [1] * 30 + [2] * 10)
    assert ("0", "1", "> 1") == found.labels
    assert (0.6, 0.4, 0.0) == found.reference
    assert (0.0, 0.75, 0.25) == found.current
    assert () == found.ticks


def test_whole_numbers_share_cells_evenly():
    rng = np.random.default_rng(1)
    values = rng.integers(0, 70, 50_000)
    found = drawn(values, values)
    inner = found.reference[1:-1]
    assert len(found.labels) <= CELLS
    assert max(inner) / min(inner) < 1.15


def test_one_far_value_does_not_flatten_the_rest():
    values = np.random.default_rng(2).normal(size=5_000)
    with_far = drawn(np.append(values, [1e9] * 40), values)
    assert max(with_far.reference) < 0.2


@pytest.mark.parametrize("ticks", [(), ("0", "", "2", "3")])
def test_every_cell_says_both_shares(ticks):
    svg = chart(["a", "b", "c"], [0.5, 0.3, 0.2], [0.1, 0.2, 0.7], title="plan", ticks=ticks)
    assert "b: 30.0% in the reference, 20.0% now" in titles(svg)
    assert 3 == len(titles(svg))


@pytest.mark.parametrize("ticks", [(), ("<i>", "")])
def test_names_are_escaped(ticks):
    svg = chart(["<script>"], [1.0], [1.0], title='"><script>alert(1)</script>', ticks=ticks)
    assert "<script>" not in svg
    ElementTree.fromstring(svg)


def test_nothing_at_all_is_still_a_drawing():
    ElementTree.fromstring(chart(["a"], [0.0], [0.0], title="x", ticks=("0", "1")))
    ElementTree.fromstring(chart([], [], [], title="x"))


@pytest.mark.parametrize("sides", [([1.0], [0.5, 0.5]), ([0.5, 0.5], [1.0])])
def test_lengths_must_agree(sides):
    with pytest.raises(InputError, match="as many shares"):
        chart(["a", "b"], *sides, title="x")


def test_ticks_stand_at_the_borders():
    with pytest.raises(InputError, match="one tick more"):
        chart(["a", "b"], [1, 0], [0, 1], title="x", ticks=["1", "2"])
