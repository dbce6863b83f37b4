"""Live tests at length: false winners of 10,000 equal tests, with clipping and without."""

import numpy as np
import pytest

from evergreen.tasks.core.ab_testing.metric import choose_clip
from tests.support.live_tests import (
    ALPHA,
    arms,
    block_tests,
    hit_batches,
    pareto,
    purchases,
    rated_test,
    regimes,
    row_by_row,
    show,
    value_batches,
)

pytestmark = pytest.mark.proof
TRIALS = 10_000


def by_tens(make, test, *, span=1.0):
    """Run many trials, a tenth at a time, and join what each found."""
    return [
        np.concatenate(found)
        for found in zip(*(arms(make(), test, span=span) for _ in range(10)), strict=True)
    ]


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("right", [0.7, 0.9, 0.99])
def test_equal_arms_by_accuracy(share, right):
    rng = np.random.default_rng(101)
    found = by_tens(
        lambda: hit_batches(rng, trials=TRIALS // 10, batch=40, share=share, control=right, challenger=right),
        rated_test(share=share),
    )
    assert show(f"accuracy {right}, {1 - share:.0%}/{share:.0%}", *found) <= ALPHA


@pytest.mark.parametrize("draw", [purchases, pareto])
@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equal_arms_by_profit(draw, clipped, share):
    rng = np.random.default_rng(102)
    past = draw(rng, (5_000,))
    clip = choose_clip(past)
    test = rated_test(share=share, metric="business_value", effect=0.1 * np.clip(past, *clip).std())
    bounds = clip if clipped else None
    found = by_tens(
        lambda: value_batches(rng, draw, trials=TRIALS // 10, batch=20, share=share, clip=bounds),
        test,
        span=clip[1] - clip[0] if clipped else 0.0,
    )
    what = f"profit ({draw.__name__}) {'clipped' if clipped else 'as it is'}, {1 - share:.0%}/{share:.0%}"
    assert show(what, *found) <= ALPHA


@pytest.mark.parametrize(("length", "apart"), [(100, 0.0), (50, 0.2), (200, 0.2), (1_000, 0.2)])
def test_equal_pairs_by_blocks_over_five_hundred_of_them(length, apart):
    """Blocks of 500 rows; regimes of twice that are shown without a bar."""
    rng, rows = np.random.default_rng(103), 500
    lost, won = regimes(rng, trials=1_000, blocks=500, rows=rows, length=length, apart=apart)
    test = rated_test(mode="paired", unit="block", block=1.0)
    better, worse = block_tests(lost, won, test, rows=rows)
    by_row, literal = row_by_row(lost, won, test)
    what = (
        f"pairs, regimes of {length} rows (± {apart}), blocks of {rows}; e-value by row {by_row.mean():.3f}"
    )
    bound = show(what, better, worse, literal)
    if length <= rows:
        assert bound <= ALPHA
