"""How often a challenger is promoted: equal, exactly better enough, and twice that. Rates: docs/limits.md."""

import math
import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import chi2, norm, t
from statsmodels.stats.power import TTestPower

from evergreen.tasks.core.challenge.alpha import plan_alpha
from evergreen.tasks.core.challenge.blocks import make_blocks
from evergreen.tasks.core.challenge.decision import Rule, judge_challenge
from evergreen.tasks.core.challenge.difference import measure_difference
from evergreen.tasks.core.metrics.base import Metric, mean_of_first, row_parts
from evergreen.tasks.core.metrics.scored import Scored
from evergreen.tasks.core.verdict import Outcome
from tests.support.simulated_models import DAY, METRICS, PAIRS, ROWS_A_DAY, lower_bound, upper_bound

pytestmark = pytest.mark.proof

TRIALS = 2_000
PILOT = {"accuracy": 800, "roc_auc": 800, "rmse": 800, "ndcg_at_3": 250}
PILOT_DAYS = 60
LEAST = {"accuracy": 0.02, "roc_auc": 0.015, "rmse": 0.03, "ndcg_at_3": 0.02}  # min_improvement
CASES = [(name, phi) for name in LEAST for phi in (0.0, 0.9)]


def compare(rng, name, n, *, better_by, phi, level=0.05, draws=400):
    """Measure the difference of one simulated pair: by day blocks when rows are AR, else row by row."""
    champion, challenger = PAIRS[name](rng, n, better_by=better_by, phi=phi)
    blocks = None
    if phi:
        rows = len(champion) // n
        blocks = np.repeat(make_blocks(np.arange(n) * DAY / ROWS_A_DAY), rows)
    return measure_difference(
        METRICS[name], champion, challenger, level=level, blocks=blocks, rng=rng, draws=draws
    )


def judge(difference, *, least):
    """Judge by superiority at a given min_improvement."""
    return judge_challenge(difference, Rule(min_improvement=least))


def promotion_rate_by_theory(true, *, error, least, df, level=0.05):
    """Return P(lower bound > 0 and estimate >= least) for a normal estimate and a chi-square spread."""
    critical = t.isf(level / 2, df)
    spread = error * np.sqrt(chi2.ppf((np.arange(500) + 0.5) / 500, df) / df)
    return float(norm.cdf((true - np.maximum(least, critical * spread)) / error).mean())


def analytic_size(n, *, error, true, level=0.05, power=0.8, blocks=None):
    """Return the sample that gives the power when the spread is known: of n rows, or of blocks of n rows."""
    units = n if blocks is None else blocks
    effect = true / (error * math.sqrt(units))
    return n / units * TTestPower().solve_power(effect_size=effect, alpha=level, power=power)


def rows_of(name, phi):
    return PILOT_DAYS * ROWS_A_DAY if phi else PILOT[name]


def promotions(differences, least):
    return sum(judge(d, least=least).outcome is Outcome.PASS for d in differences)


@pytest.fixture(scope="module")
def looks():
    """Every pair, TRIALS times at each true difference, and once more at the size each report asks for."""
    return {}


def measured(looks, name, phi):
    """Simulate once, on first use."""
    if (name, phi) not in looks:
        rng = np.random.default_rng(20260101)
        least, n = LEAST[name], rows_of(name, phi)
        at = {
            true: [compare(rng, name, n, better_by=true, phi=phi) for _ in range(TRIALS)]
            for true in (0.0, least, 2 * least)
        }
        needed = [judge(d, least=least).needed_n for d in at[2 * least]]
        again = [compare(rng, name, size, better_by=2 * least, phi=phi) for size in needed]
        looks[name, phi] = SimpleNamespace(
            at=at,
            needed=np.array(needed),
            again=again,
            error={true: float(np.std([d.difference for d in found])) for true, found in at.items()},
        )
        report(looks[name, phi], name, phi)
    return looks[name, phi]


def analytic(found, name, phi):
    """Return the size that theory asks for at twice min_improvement, the spread being known."""
    true = 2 * LEAST[name]
    return analytic_size(
        rows_of(name, phi), error=found.error[true], true=true, blocks=PILOT_DAYS if phi else None
    )


def report(found, name, phi):
    """Show the row of docs/limits.md when asked for."""
    if not os.environ.get("SHOW_RATES"):
        return
    least = LEAST[name]
    rates = [promotions(found.at[true], least) / TRIALS for true in (0.0, least, 2 * least)]
    cover = np.mean([d.interval[0] <= 0 <= d.interval[1] for d in found.at[0.0]])
    ratio = found.needed.mean() / analytic(found, name, phi)
    naive = np.mean([d.challenger > d.champion for d in found.at[0.0]])
    theory = [
        promotion_rate_by_theory(true, error=found.error[true], least=least, df=degrees(phi))
        for true in (0.0, least, 2 * least)
    ]
    print(
        f"\n| {name} | {'AR(.9), day blocks' if phi else 'independent'} | {naive:.3f} | "
        f"{promotions(found.at[0.0], 0.0) / TRIALS:.4f} | "
        + " | ".join(f"{r:.4f} ({e:.3f})" for r, e in zip(rates, theory, strict=True))
        + f" | {promotions(found.again, least) / TRIALS:.3f} | {ratio:.2f} | {cover:.3f} |"
    )


def degrees(phi):
    return PILOT_DAYS - 1 if phi else 1_000


@pytest.mark.parametrize(("name", "phi"), CASES)
def test_an_equal_challenger_is_promoted_at_most_once_in_twenty(looks, name, phi):
    found = measured(looks, name, phi).at[0.0]
    assert upper_bound(promotions(found, LEAST[name]), TRIALS) <= 0.05
    assert upper_bound(promotions(found, 0.0), TRIALS) <= 0.05  # even where any improvement would do


@pytest.mark.parametrize(("name", "phi"), CASES)
def test_without_a_test_an_equal_challenger_is_promoted_about_half_of_the_time(looks, name, phi):
    found = measured(looks, name, phi).at[0.0]
    better = sum(d.difference > 0 for d in found)
    assert lower_bound(better, TRIALS) > 0.4
    assert upper_bound(better, TRIALS) < 0.6


@pytest.mark.parametrize(("name", "phi"), CASES)
@pytest.mark.parametrize("times", [1, 2])
def test_better_challengers_are_promoted_at_the_rate_theory_predicts(looks, name, phi, times):
    found = measured(looks, name, phi)
    true = times * LEAST[name]
    hits = promotions(found.at[true], LEAST[name])
    expected = promotion_rate_by_theory(true, error=found.error[true], least=LEAST[name], df=degrees(phi))
    assert lower_bound(hits, TRIALS, confidence=0.995) - 0.04 <= expected
    assert expected <= upper_bound(hits, TRIALS, confidence=0.995) + 0.04


@pytest.mark.parametrize(("name", "phi"), CASES)
def test_the_size_the_report_asks_for_gives_four_in_five_at_little_more_than_the_analytic_size(
    looks, name, phi
):
    found = measured(looks, name, phi)
    assert upper_bound(promotions(found.again, LEAST[name]), TRIALS) >= 0.80
    assert promotions(found.again, LEAST[name]) / TRIALS >= 0.79
    assert found.needed.mean() <= 1.25 * analytic(found, name, phi)


@pytest.mark.parametrize(("name", "phi"), CASES)
def test_the_interval_covers_the_true_difference_as_often_as_it_says(looks, name, phi):
    found = measured(looks, name, phi)
    for true, differences in found.at.items():
        hits = sum(d.interval[0] <= true <= d.interval[1] for d in differences)
        assert upper_bound(hits, TRIALS, confidence=0.995) >= 0.94
        assert hits / TRIALS <= 0.98


def day_level_difference(rng, *, blocks, correlation, level=0.05):
    """Compare equal models whose daily difference follows AR(correlation) from day to day."""
    e = rng.normal(size=blocks)
    e[0] /= np.sqrt(1 - correlation**2)
    series = lfilter([1.0], [1.0, -correlation], e)
    y = np.zeros(blocks)
    return measure_difference(
        MEAN, Scored(y=y, score=y), Scored(y=y, score=series), level=level, blocks=np.arange(blocks), rng=rng
    )


MEAN = Metric(
    name="mean_gain",
    problems=frozenset({"regression"}),
    greater_is_better=True,
    bounded=True,
    needs="score",
    components=lambda scored: row_parts(scored, scored.score.astype(float)),
    combine=mean_of_first,
)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("blocks", [30, 60, 120, 250])
def test_days_that_resemble_their_neighbours_do_not_promote_an_equal_challenger(blocks, correlation):
    rng = np.random.default_rng(11)
    answers = [
        judge(day_level_difference(rng, blocks=blocks, correlation=correlation), least=0.0)
        for _ in range(TRIALS)
    ]
    hits = sum(a.outcome is Outcome.PASS for a in answers)
    refused = sum(a.outcome is Outcome.INSUFFICIENT for a in answers)
    if os.environ.get("SHOW_RATES"):
        print(f"\n| {blocks} | {correlation} | {hits / TRIALS:.4f} | {refused / TRIALS:.3f} |")
    assert lower_bound(hits, TRIALS) <= 0.05


@pytest.mark.parametrize("blocks", [7, 10, 14, 20])
def test_few_independent_blocks_keep_the_level(blocks):
    rng = np.random.default_rng(12)
    answers = [
        judge(day_level_difference(rng, blocks=blocks, correlation=0.0), least=0.0) for _ in range(TRIALS)
    ]
    hits = sum(a.outcome is Outcome.PASS for a in answers)
    refused = sum(a.outcome is Outcome.INSUFFICIENT for a in answers)
    if os.environ.get("SHOW_RATES"):
        print(f"\n| {blocks} | 0.0 | {hits / TRIALS:.4f} | {refused / TRIALS:.3f} |")
    assert upper_bound(hits, TRIALS) <= 0.05


@pytest.mark.parametrize(
    ("blocks", "correlation", "limit"), [(7, 0.3, 0.08), (7, 0.9, 0.25), (14, 0.9, 0.12)]
)
def test_what_few_blocks_cannot_see_stays_within_what_the_limits_say(blocks, correlation, limit):
    rng = np.random.default_rng(14)
    answers = [
        judge(day_level_difference(rng, blocks=blocks, correlation=correlation), least=0.0)
        for _ in range(TRIALS)
    ]
    hits = sum(a.outcome is Outcome.PASS for a in answers)
    refused = sum(a.outcome is Outcome.INSUFFICIENT for a in answers)
    if os.environ.get("SHOW_RATES"):
        print(f"\n| {blocks} | {correlation} | {hits / TRIALS:.4f} | {refused / TRIALS:.3f} |")
    assert upper_bound(hits, TRIALS) <= limit


def week(rng, name, *, level):
    """One weekly challenge of an equal challenger: seven days of rows that follow AR(.9)."""
    return judge(compare(rng, name, 7 * ROWS_A_DAY, better_by=0.0, phi=0.9, level=level), least=0.0)


@pytest.mark.parametrize("name", ["accuracy", "roc_auc"])
def test_thirteen_weekly_challenges_promote_an_equal_challenger_in_at_most_one_quarter_in_twenty(name):
    rng = np.random.default_rng(13)
    start = datetime(2026, 1, 5, tzinfo=UTC)
    quarters, budgeted, literal = 2_000, 0, 0
    for _ in range(quarters):
        spent, hit, hit_literal = [], False, False
        for number in range(13):
            now = start + timedelta(weeks=number)
            look = plan_alpha(spent, now=now, level=0.05)
            spent.append((now, look.alpha))
            found = week(rng, name, level=look.alpha)
            hit |= found.outcome is Outcome.PASS
            hit_literal |= found.difference.p_value < 0.05 and found.difference.difference > 0
        budgeted += hit
        literal += hit_literal
    if os.environ.get("SHOW_RATES"):
        print(
            f"\n{name}: any promotion in 13 weeks {budgeted / quarters:.4f}, fixed level {literal / quarters:.4f}"
        )
    assert upper_bound(budgeted, quarters) <= 0.05
    assert lower_bound(literal, quarters) > 0.10  # what the budget is for
