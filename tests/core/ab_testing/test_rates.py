"""False winners of live tests that are looked at after each of 500 batches, and their power. Rates: docs/limits.md."""

import numpy as np
import pytest

from evergreen.tasks.core.ab_testing.analysis import needed_units
from evergreen.tasks.core.ab_testing.checks import MIN_UNITS
from evergreen.tasks.core.ab_testing.effect import hits_bounds
from evergreen.tasks.core.ab_testing.metric import choose_clip
from evergreen.tasks.core.stats.association import JointMoments
from evergreen.tasks.core.stats.sequential import compare_arms, compare_pairs, confidence_sequence
from evergreen.tasks.core.stats.sequential_counts import log_mcnemar_e_value, log_split_e_value
from tests.support.live_tests import (
    ALPHA,
    LOOKS,
    arms,
    block_tests,
    hit_batches,
    moments_of_sums,
    pareto,
    purchases,
    rated_test,
    regimes,
    row_by_row,
    running_moments,
    show,
    value_batches,
    winners,
)
from tests.support.simulated_models import lower_bound, upper_bound

pytestmark = pytest.mark.slow
TRIALS = 1_000


def units_for(test, *, sd):
    """Return the stated need by a spread a unit that is known: in each arm, or of the difference of a pair."""
    if test.mode == "arms":
        share = test.challengers[0].share
        sd /= np.sqrt(share * (1 - share))
    return needed_units(test, standard_error=sd, n=1)


@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("right", [0.9, 0.99])
def test_equal_arms_are_told_apart_by_accuracy_in_at_most_one_of_twenty_tests(share, right):
    rng = np.random.default_rng(50 + int(100 * share))
    batches = hit_batches(rng, trials=2 * TRIALS, batch=40, share=share, control=right, challenger=right)
    better, worse, literal = arms(batches, rated_test(share=share))
    assert show(f"accuracy {right}, arms {1 - share:.0%}/{share:.0%}", better, worse, literal) <= ALPHA
    assert (
        lower_bound(int(literal.sum()), 2 * TRIALS) > 2 * ALPHA
    )  # the fixed-sample test, looked at as often


@pytest.mark.parametrize("draw", [purchases, pareto])
def test_equal_arms_are_told_apart_by_clipped_profit_at_ninety_to_ten_in_at_most_one_of_twenty(draw):
    rng = np.random.default_rng(17)
    past = draw(rng, (5_000,))
    clip = choose_clip(past)
    test = rated_test(share=0.1, metric="business_value", effect=0.1 * np.clip(past, *clip).std())
    batches = value_batches(rng, draw, trials=TRIALS, batch=20, share=0.1, clip=clip)
    better, worse, literal = arms(batches, test, span=clip[1] - clip[0])
    assert show(f"profit ({draw.__name__}) clipped, arms 90/10", better, worse, literal) <= ALPHA
    assert lower_bound(int(literal.sum()), TRIALS) > 2 * ALPHA


@pytest.mark.parametrize("times", [2, 5])
def test_equal_means_of_unequal_spread_are_told_apart_in_at_most_one_of_twenty(times):
    """The small arm wins rarer and more: the same mean, several times the variance."""
    rng, shape = np.random.default_rng(19), (2 * TRIALS, LOOKS)
    n = rng.binomial(20, 0.1, shape)
    wins, others = rng.binomial(n, 0.1 / times), rng.binomial(20 - n, 0.1)
    pair = moments_of_sums(20 - n, others, others), moments_of_sums(n, times * wins, times**2 * wins)
    found = arms(pair, rated_test(share=0.1, metric="business_value", effect=0.05), span=float(times))
    assert show(f"same mean, {times} times the stake, arms 90/10", *found) <= ALPHA


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_arms_better_by_the_minimum_are_found_at_the_stated_need(share):
    rng, test = np.random.default_rng(3), rated_test(share=share)
    units = units_for(test, sd=np.sqrt(0.9 * 0.1))
    batches = hit_batches(
        rng, trials=TRIALS, batch=-(-units // LOOKS), share=share, control=0.9, challenger=0.92
    )
    better, worse, _ = arms(batches, test)
    print(
        f"\n| accuracy .90 to .92, arms {1 - share:.0%}/{share:.0%} | {units} | {better.mean():.3f} |", end=""
    )
    assert lower_bound(int(better.sum()), TRIALS, confidence=0.95) >= 0.78
    assert better.mean() >= 0.8
    assert worse.mean() <= 0.01


@pytest.mark.parametrize("draw", [purchases, pareto])
def test_clipped_profit_better_by_the_minimum_is_found_by_the_need_that_an_early_look_states(draw):
    rng, early = np.random.default_rng(29), 100
    past = draw(rng, (5_000,))
    clip = choose_clip(past)
    sd = np.clip(past, *clip).std()
    test = rated_test(share=0.1, metric="business_value", effect=0.15 * sd)
    batch = -(-2 * units_for(test, sd=sd) // LOOKS)
    pair = value_batches(
        rng,
        lambda rng, shape: np.clip(draw(rng, shape), *clip),
        trials=TRIALS // 2,
        batch=batch,
        share=0.1,
        clip=None,
        better_by=test.effect,
    )
    effect = compare_arms(*map(running_moments, pair), span=clip[1] - clip[0])
    low, _ = confidence_sequence(effect.estimate, effect.standard_error, alpha=ALPHA, scale=test.scale)
    stated = [
        needed_units(test, standard_error=one, n=early * batch) for one in effect.standard_error[:, early - 1]
    ]
    rows = batch * np.arange(1, LOOKS + 1)
    found = ((low > 0) & (rows <= np.array(stated)[:, None])).any(axis=1)
    print(
        f"\n| profit ({draw.__name__}) + .15 sd, arms 90/10 | {np.mean(stated):.0f} | {found.mean():.3f} |",
        end="",
    )
    assert found.mean() >= 0.8


def discordances(rng, *, lost, won, batch):
    """Return running counts of pairs that only one side has right, and of rows; shape (trials, looks)."""
    shape = (4 * TRIALS, LOOKS)
    b = rng.binomial(batch, lost, shape)
    c = rng.binomial(batch - b, won / (1 - lost))
    return b.cumsum(1), c.cumsum(1), batch * np.arange(1, LOOKS + 1)


@pytest.mark.parametrize("share", [0.05, 0.005])
def test_equal_pairs_are_told_apart_by_the_e_value_in_at_most_one_of_twenty(share):
    b, c, n = discordances(np.random.default_rng(7), lost=share, won=share, batch=20)
    test = rated_test(mode="paired", unit="row")
    over = log_mcnemar_e_value(b, c, concentration=test.concentration) >= -np.log(ALPHA)
    literal = (b - c) ** 2 > 1.96**2 * (b + c)
    found = [mask.any(axis=1) for mask in (over & (c > b), over & (b > c), literal & (n >= 30))]
    assert show(f"accuracy, pairs, discordant {2 * share:.0%}", *found) <= ALPHA
    assert lower_bound(int(found[2].sum()), 4 * TRIALS) > 2 * ALPHA


def test_pairs_better_by_the_minimum_are_found_at_the_stated_need_and_their_bounds_hold_throughout():
    test = rated_test(mode="paired", unit="row")
    sd = np.sqrt(0.1 - 0.02**2)  # a tenth of the rows discordant, better by .02
    units = units_for(test, sd=sd)
    b, c, n = discordances(np.random.default_rng(8), lost=0.04, won=0.06, batch=-(-units // LOOKS))
    low, high = hits_bounds(
        b[::4, ::10], c[::4, ::10], n[::10], alpha=ALPHA, scale=test.scale, concentration=test.concentration
    )
    found = (low > 0).any(axis=1)
    missed = ((low > 0.02) | (high < 0.02)).any(axis=1)
    print(
        f"\n| accuracy, pairs, discordant 4 to 6 % | {units} | {found.mean():.3f} | ever missed {missed.mean():.3f} |",
        end="",
    )
    assert found.mean() >= 0.8
    assert upper_bound(int(missed.sum()), TRIALS) <= ALPHA


def test_pairs_just_short_of_the_minimum_are_strictly_superior_in_at_most_one_of_twenty():
    """A tenth discordant, nine in ten of them won: the size of the difference hangs on how many are discordant."""
    rng, looks = np.random.default_rng(9), 100
    test = rated_test(mode="paired", unit="row", effect=0.08, strict=True)
    both = rng.binomial(200, 0.1, (TRIALS, looks))
    won = rng.binomial(both, 0.899)
    b, c, n = (both - won).cumsum(1), won.cumsum(1), 200 * np.arange(1, looks + 1)
    low, high = hits_bounds(b, c, n, alpha=ALPHA, scale=test.scale, concentration=test.concentration)
    found = (low >= test.effect).any(axis=1)
    print(f"\n| strict, pairs just short of the minimum | {found.mean():.4f} |", end="")
    assert upper_bound(int(found.sum()), TRIALS) <= ALPHA
    e = log_mcnemar_e_value(b, c, concentration=test.concentration)
    np.testing.assert_array_equal(e >= -np.log(ALPHA), (low > 0) | (high < 0))


def test_equal_pairs_are_told_apart_by_clipped_profit_in_at_most_one_of_twenty():
    rng = np.random.default_rng(11)
    clip = choose_clip(purchases(rng, (5_000,)))
    test = rated_test(mode="paired", metric="business_value", effect=0.5)
    worth = np.clip(purchases(rng, (TRIALS, LOOKS, 10)), *clip)
    swap = rng.random((TRIALS, LOOKS, 10), dtype=np.float32)  # one row in five earns on one side only
    values = np.stack([np.ones(worth.shape), worth * (swap > 0.1), worth * (swap < 0.9)], axis=-1)
    effect = compare_pairs(running_moments(JointMoments.of(values)))
    assert show("profit clipped, pairs", *winners(effect, test, least=MIN_UNITS["paired"])) <= ALPHA


DAYS, A_DAY = 28, 500  # four weeks of blocks of a day


@pytest.mark.parametrize(("length", "apart"), [(100, 0.0), (50, 0.2), (200, 0.2), (1_000, 0.2)])
def test_equal_pairs_in_regimes_are_told_apart_by_blocks_in_at_most_one_of_twenty(length, apart):
    rng = np.random.default_rng(31)
    lost, won = regimes(rng, trials=TRIALS, blocks=DAYS, rows=A_DAY, length=length, apart=apart)
    test = rated_test(mode="paired", unit="block", block=1.0)
    better, worse = block_tests(lost, won, test, rows=A_DAY)
    by_row, literal = row_by_row(lost, won, test)
    what = (
        f"pairs, regimes of {length} rows (± {apart}), blocks of {A_DAY}; e-value by row {by_row.mean():.3f}"
    )
    bound = show(what, better, worse, literal)
    if length <= A_DAY:
        assert bound <= ALPHA
    if apart:
        assert by_row.mean() > 2 * (better | worse).mean()


def test_equal_pairs_by_clipped_profit_are_told_apart_by_blocks_in_at_most_one_of_twenty():
    rng, rows = np.random.default_rng(33), 100
    clip = choose_clip(pareto(rng, (5_000,)))
    worth = np.clip(pareto(rng, (TRIALS, DAYS, rows)), *clip)
    swap = rng.random((TRIALS, DAYS, rows), dtype=np.float32)  # one row in five earns on one side only
    lost, won = worth * (swap < 0.1), worth * (swap > 0.9)
    test = rated_test(mode="paired", unit="block", block=1.0, metric="business_value", effect=0.5)
    better, worse = block_tests(lost, won, test, rows=rows)
    apart = (won - lost).reshape(TRIALS, -1)[:, 30:]
    n = np.arange(1, apart.shape[1] + 1)
    mean = apart.cumsum(1) / n
    z = mean / np.sqrt(np.maximum((apart**2).cumsum(1) / n - mean**2, 1e-9) / n)
    literal = (np.abs(z[:, rows::rows]) > 1.96).any(axis=1)
    assert show("profit (pareto) clipped, pairs, blocks of 100 rows", better, worse, literal) <= ALPHA


@pytest.mark.parametrize(("rows", "effect"), [(500, 0.02), (500, 0.01), (100, 0.02)])
def test_pairs_better_by_the_minimum_are_found_by_blocks_at_the_stated_need(rows, effect):
    rng = np.random.default_rng(32)
    test = rated_test(mode="paired", unit="block", block=1.0, effect=effect)
    blocks = units_for(test, sd=np.sqrt((0.1 - effect**2) / rows))
    both = rng.binomial(rows, 0.1, (400, blocks, 1))
    won = rng.binomial(both, 0.5 + effect / 0.2)
    lost = both - won
    better, worse = block_tests(lost, won, test, rows=rows)
    print(f"\n| pairs better by {effect}, blocks of {rows} rows | {blocks} | {better.mean():.3f} |", end="")
    assert better.mean() >= 0.8
    assert worse.mean() <= 0.01


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_sound_split_is_called_a_mismatch_in_at_most_one_of_two_hundred_tests(share):
    rng = np.random.default_rng(13)
    n = rng.binomial(40, share, (4 * TRIALS, LOOKS)).cumsum(axis=1)
    counts = np.stack([40 * np.arange(1, LOOKS + 1) - n, n], axis=-1)
    hits = int((log_split_e_value(counts, [1 - share, share]) >= np.log(200)).any(axis=1).sum())
    chi = (n - 40 * share * np.arange(1, LOOKS + 1)) ** 2 / (
        40 * share * (1 - share) * np.arange(1, LOOKS + 1)
    )
    print(
        f"\n| split {1 - share:.0%}/{share:.0%} | {hits / (4 * TRIALS):.4f} (at most "
        f"{upper_bound(hits, 4 * TRIALS):.4f}) | chi-square at .01: {(chi > 6.635).any(axis=1).mean():.3f} |",
        end="",
    )
    assert hits / (4 * TRIALS) <= 0.005
    assert upper_bound(hits, 4 * TRIALS) <= 0.01


def test_a_split_that_loses_a_tenth_of_one_arm_is_found():
    n = np.random.default_rng(14).binomial(40, 0.45 / 0.95, (TRIALS, LOOKS)).cumsum(axis=1)
    counts = np.stack([40 * np.arange(1, LOOKS + 1) - n, n], axis=-1)
    assert (log_split_e_value(counts, [0.5, 0.5])[:, -1] >= np.log(200)).mean() >= 0.95


def returning(rng, *, trials, entities, looks, rows):
    """Return running sums of right answers by entity, shape (trials, entities, looks), and rows likewise.

    Each entity has a difficulty of its own and comes back again and again.
    """
    ease = rng.beta(1.8, 0.2, (trials, entities, 1))
    count = rng.poisson(rows, (trials, entities, looks))
    return count.cumsum(axis=-1), rng.binomial(count, ease).cumsum(axis=-1)


@pytest.mark.parametrize("share", [0.5, 0.2])
def test_entities_that_return_make_no_false_winners_when_they_are_the_unit(share):
    rng, test = np.random.default_rng(21), rated_test(share=share)
    by_entity, by_row = np.zeros((2, 400), dtype=bool)
    for trial in range(400):
        n, right = (x[0].astype(float) for x in returning(rng, trials=1, entities=300, looks=60, rows=0.5))
        variant = rng.random(300) < share
        both = []
        for mask in (~variant, variant):
            units = np.stack([n[mask], right[mask]], axis=-1).swapaxes(0, 1)  # (looks, units, 2)
            both.append(JointMoments.of(units))
        effect = compare_arms(*both, span=1.0)
        low, high = confidence_sequence(effect.estimate, effect.standard_error, alpha=ALPHA, scale=test.scale)
        by_entity[trial] = ((low > 0) | (high < 0)).any()
        total, hit = (np.array([x[~variant].sum(0), x[variant].sum(0)]) for x in (n, right))
        error = np.sqrt((hit / total * (1 - hit / total) / total).sum(0))
        low, high = confidence_sequence(np.diff(hit / total, axis=0)[0], error, alpha=ALPHA, scale=test.scale)
        by_row[trial] = ((low > 0) | (high < 0))[total.min(0) >= 100].any()
    hits = int(by_entity.sum())
    print(
        f"\n| returning entities {1 - share:.0%}/{share:.0%} | {hits / 400:.4f} "
        f"(at most {upper_bound(hits, 400):.4f}) | "
        f"row by row {by_row.mean():.3f} |",
        end="",
    )
    assert hits / 400 <= ALPHA
    assert by_row.mean() > by_entity.mean()
