"""How often monitoring alarms without drift, and how soon with it. The measured figures stand in docs/limits.md."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, norm

from evergreen.tasks.core.config.units import Rate, Span
from evergreen.tasks.core.drift.calibration import fit_null_model
from evergreen.tasks.core.drift.detect import DetectorState
from evergreen.tasks.core.drift.judge import judge_window
from evergreen.tasks.core.drift.policy import Policy
from evergreen.tasks.core.drift.profile_signals import prepare_signals
from evergreen.tasks.core.drift.types import DriftKind, SignalKey, Signals, SignalSeries, join_signals
from evergreen.tasks.core.profiles.grid import make_grid
from evergreen.tasks.core.profiles.profile import measure_profile
from evergreen.tasks.core.stats.two_sample import ks_from_counts
from tests.support.drift_streams import (
    FEATURES,
    HOUR,
    QUARTER,
    ROWS,
    Windows,
    draw_counts,
    means,
    policy,
    reference_profile,
    signals_of,
)

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

SEEDS = 100
REFERENCES = (40, 168, 720)
ALLOWED = {"independent": 1.0, "cycle": 1.0, "autoregressive": 1.5}
SHIFTS = (0.1, 0.25, 0.5, 1.0)
BEFORE, AFTER = 12, 40
REFERENCE = reference_profile()


STREAMS = ("independent", "autoregressive", "cycle")


def judge_all(windows, *, reference, policy, null=None):
    """Judge the windows after the first ``reference`` ones in order; yield place (from 0) and judgement."""
    null = fit_null_model(windows.series(0, reference), policy=policy) if null is None else null
    memory = DetectorState.empty()
    for place in range(reference, len(windows.values)):
        position = windows.start + HOUR * place
        found = judge_window(
            windows.signals(place), null, memory, policy=policy, position=position, rows=ROWS
        )
        memory = found.state
        yield place - reference, found


def opened(judged):
    """Return the alarms that opened, as (place, change)."""
    return [(place, one) for place, found in judged for one in found.alarms if one.change == "opened"]


def upper_bound(counts):
    """Upper 95 % bound of a mean count: Poisson, or normal where the counts spread more."""
    total, n = sum(counts), len(counts)
    poisson = chi2.ppf(0.95, 2 * (total + 1)) / 2 / n
    return max(poisson, np.mean(counts) + 1.645 * np.std(counts, ddof=1) / math.sqrt(n))


@pytest.fixture(scope="module")
def quiet():
    """Alarms of every seed of a stream in 90 days without drift."""
    return {}


def alarms_of(quiet, stream):
    if stream not in quiet:
        found = {many: [] for many in REFERENCES}
        for seed in range(SEEDS):
            rng = np.random.default_rng([seed, STREAMS.index(stream)])
            longest = max(REFERENCES)
            windows = signals_of(draw_counts(rng, means(rng, stream, longest + QUARTER)), REFERENCE)
            for many in REFERENCES:
                part = windows.after(longest - many)
                found[many].append(len(opened(judge_all(part, reference=many, policy=policy()))))
        quiet[stream] = found
    return quiet[stream]


@pytest.mark.parametrize("many", REFERENCES)
@pytest.mark.parametrize("stream", STREAMS)
def test_a_stationary_quarter_alarms_no_more_often_than_the_budget_says(quiet, stream, many, record_property):
    found = alarms_of(quiet, stream)[many]
    bound = upper_bound(found)
    record_property("alarms", (np.mean(found), bound, max(found)))
    print(
        f"{stream}, {many} windows: {np.mean(found):.2f} alarms per 90 d, at most {bound:.2f}, worst {max(found)}"
    )
    assert bound <= ALLOWED[stream]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_literal_rule_alarms_in_most_stationary_hours(stream):
    rng = np.random.default_rng([8, STREAMS.index(stream)])
    edges = norm.ppf(np.arange(1, 250) / 250)
    counts = draw_counts(rng, means(rng, stream, 480), edges=edges).reshape(-1, 250)
    p_values = ks_from_counts(np.full(counts.shape, 400), counts).p_value.reshape(-1, FEATURES)
    share = (p_values < 0.05).any(axis=1).mean()
    print(f"{stream}: any p < .05 in {share:.0%} of 480 hours without drift")
    assert share > 0.6


def delays(stream, many, kinds):
    """Return, by shift, how many windows after it each seed's first alarm of the shifted feature came."""
    chosen = policy(kinds=kinds)
    found = {shift: [] for shift in SHIFTS}
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, many, STREAMS.index(stream), 7])
        on = many + BEFORE + seed % 24
        centres = means(rng, stream, on + AFTER)
        past = signals_of(draw_counts(rng, centres[:on]), REFERENCE)
        null = fit_null_model(past.series(0, many), policy=chosen)
        for shift in SHIFTS:
            moved = centres[on:] + np.where(np.arange(FEATURES) == 0, shift, 0.0)
            windows = past.followed_by(signals_of(draw_counts(rng, moved), REFERENCE))
            judged = judge_all(windows, reference=many, policy=chosen, null=null)
            found[shift].append(first_alarm(judged, "x0", on - many))
    return found


def first_alarm(judged, column, on):
    """Return how many windows into the shift the column's alarm was open, inf for never."""
    for place, found in judged:
        if place >= on and any(alarm.column == column for alarm in found.state.alarms):
            return place - on + 1
    return math.inf


@pytest.mark.parametrize(
    ("stream", "many"),
    [(stream, many) for stream in STREAMS for many in REFERENCES if (stream, many) != ("cycle", 40)],
)
def test_half_a_standard_deviation_alarms_within_six_windows(stream, many):
    found = delays(stream, many, tuple(DriftKind))
    for shift, each in found.items():
        typical, late = np.quantile(each, [0.5, 0.9], method="higher")
        within = np.mean(np.array(each) <= 6)
        print(f"{stream}, {many} windows, {shift} sd: median {typical}, 90 % {late}, within 6: {within:.0%}")
    assert np.quantile(found[0.5], 0.9, method="higher") <= 6
    assert np.quantile(found[1.0], 0.9, method="higher") <= 3


def test_forty_windows_of_a_daily_cycle_are_told_to_be_too_few():
    rng = np.random.default_rng(1)
    windows = signals_of(draw_counts(rng, means(rng, "cycle", 100)), REFERENCE)
    for _, found in judge_all(windows, reference=40, policy=policy()):
        (verdict,) = found.kinds
        assert verdict.level == "insufficient"
        assert [(reason.code, reason.limit) for reason in verdict.reasons] == [("season_unknown", 72.0)]


def frames(rng, hours, *, shift=0.0):
    """Yield hourly frames of a real kind: a daily cycle, a count with many zeros, categories, gaps."""
    for hour in hours:
        wave = 0.5 * np.sin(2 * np.pi * hour / 24)
        yield pd.DataFrame(
            {
                "load": rng.normal(wave, 1, ROWS) + shift,
                "amount": np.where(rng.random(ROWS) < 0.4, 0.0, rng.lognormal(size=ROWS)),
                "gaps": np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(size=ROWS)),
                "place": rng.choice(list("abcdefghijkl"), ROWS, p=[0.3, 0.2, 0.1, *[0.4 / 9] * 9]),
                "rare": rng.choice(["yes", "no"], ROWS, p=[0.01, 0.99]),
            }
        )


@pytest.mark.parametrize("seed", range(8))
def test_real_rows_through_real_profiles_are_quiet_until_they_shift(seed):
    rng = np.random.default_rng([seed, 99])
    past = list(frames(rng, range(168)))
    whole = pd.concat(past, ignore_index=True)
    grid = make_grid(whole, categorical=frozenset({"place", "rare"}))
    prepared = prepare_signals(measure_profile(whole, grid), kind=DriftKind.DATA, min_effect=0.03)
    coming = [*frames(rng, range(168, 368)), *frames(rng, range(368, 374), shift=0.5)]
    read = [prepared.measure(measure_profile(frame, grid)) for frame in [*past, *coming]]
    windows = Windows(
        prepared.keys, np.stack([one.values for one in read]), np.stack([one.errors for one in read])
    )
    alarms = [
        (place, one.column) for place, one in opened(judge_all(windows, reference=168, policy=policy()))
    ]
    assert len(alarms) == 1
    assert alarms[0][1] == "load"
    assert 200 <= alarms[0][0] < 206


# --- a row clock, a reference of 2,000 rows, an error of 14 % that becomes 20.8 % (the first change of SEA)

SEA = Policy(
    kinds=(DriftKind.DATA, DriftKind.CONCEPT, DriftKind.PERFORMANCE),
    window=Span(500.0, "rows", "500 rows"),
    budget=Rate(0.2, Span(50_000.0, "rows", "50000 rows"), "0.2 per 50000 rows"),
    clock="rows",
)
SEA_KEYS = (
    SignalKey(DriftKind.CONCEPT, "@loss", "level"),
    SignalKey(DriftKind.PERFORMANCE, "accuracy", "level"),
)
THREE = reference_profile(3)


def answers(errors):
    share = errors.mean()
    return Signals(
        keys=SEA_KEYS,
        values=np.array([share, 1 - share]),
        errors=np.full(2, errors.std() / len(errors) ** 0.5),
        floors=np.array([0.15 * 0.14, 0.05 * 0.86]),
    )


def sea_windows(rng, chances):
    data = signals_of(draw_counts(rng, np.zeros((len(chances), 3))), THREE)
    return [
        join_signals([data.signals(place), answers((rng.random(ROWS) < chance).astype(float))])
        for place, chance in enumerate(chances)
    ]


def sea_alarms(rng, chances):
    past = sea_windows(rng, [0.14] * 4)
    series = SignalSeries.stack(past, starts=500.0 * np.arange(4), rows=np.full(4, 500.0), window="500 rows")
    null, memory, found = fit_null_model(series, policy=SEA), DetectorState.empty(), []
    for place, window in enumerate(sea_windows(rng, chances)):
        judged = judge_window(window, null, memory, policy=SEA, position=2000.0 + 500 * place, rows=ROWS)
        memory = judged.state
        found += [(place, one) for one in judged.alarms if one.change == "opened"]
    return found


def test_a_rise_of_the_error_by_seven_points_is_found_within_2000_rows():
    found = [sea_alarms(np.random.default_rng([seed, 3]), [0.208] * 4) for seed in range(200)]
    share = np.mean([any(one.kind is not DriftKind.DATA for _, one in each) for each in found])
    print(f"error .14 -> .208 with four reference windows: {share:.1%} within 2,000 rows")
    assert share > 0.9


def test_four_reference_windows_alarm_rarely_without_a_change():
    found = [len(sea_alarms(np.random.default_rng([seed, 4]), [0.14] * 100)) for seed in range(200)]
    print(f"no change: {np.mean(found):.2f} alarms per 50,000 rows, at most {upper_bound(found):.2f}")
    assert upper_bound(found) <= 0.3
