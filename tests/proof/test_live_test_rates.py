"""Live tests at length: false winners of 10,000 equal tests, without clipping, and where spreads differ."""

import numpy as np
import pytest

from tasks.core.ab.metric import choose_clip
from tests.support.live_streams import (
    ALPHA,
    LOOKS,
    arms,
    hit_batches,
    moments_of_sums,
    pareto,
    purchases,
    rated_test,
    show,
    value_batches,
)
from tests.support.rates import lower_bound

pytestmark = pytest.mark.proof
TRIALS = 10_000


def by_tens(make, test):
    """Run many trials, a tenth at a time, and join what each found."""
    return [np.concatenate(found) for found in zip(*(arms(make(), test) for _ in range(10)), strict=True)]


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
        lambda: value_batches(rng, draw, trials=TRIALS // 10, batch=20, share=share, clip=bounds), test
    )
    what = f"profit ({draw.__name__}) {'clipped' if clipped else 'as it is'}, {1 - share:.0%}/{share:.0%}"
    assert show(what, *found) <= ALPHA


@pytest.mark.parametrize("times", [2, 5])
def test_equal_means_of_unequal_spread_are_known_to_be_harder(times):
    """The small arm wins rarer and more: the same mean, several times the variance, and no pooled spread to lend it."""
    rng = np.random.default_rng(103)
    shape, chance = (TRIALS // 5, LOOKS), 0.1
    test = rated_test(share=0.1, metric="business_value", effect=0.05)
    n = rng.binomial(20, 0.1, shape)
    wins, others = rng.binomial(n, chance / times), rng.binomial(20 - n, chance)
    pair = moments_of_sums(20 - n, others, others), moments_of_sums(n, times * wins, times**2 * wins)
    found = arms(pair, test)
    false = int((found[0] | found[1]).sum())
    show(f"same mean, {times} times the stake, 90/10", *found)
    assert lower_bound(false, TRIALS // 5) <= 0.1
