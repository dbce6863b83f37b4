"""Health checks: what each says at its limit, and how seldom a well feed is called silent or thin."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import binom

from evergreen.tasks.core.alerts.alert import AlertLevel
from evergreen.tasks.core.config.monitoring import AlertsConfig
from evergreen.tasks.core.health.checks import (
    FALSE_ALARMS,
    Condition,
    HealthReport,
    UsualFeed,
    check,
    health_alert,
    judge_age,
    judge_champion,
    judge_disk,
    judge_labels,
    judge_last_run,
    judge_rate,
    judge_servers,
    judge_silence,
    usual_feed,
)

HOUR, DAY = 3600.0, 86400.0
OK, WARNING, FAILED, NO = Condition.OK, Condition.WARNING, Condition.FAILED, Condition.NOT_APPLICABLE
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def windows(positions, length=HOUR):
    """Return starts and rows of the windows that hold a row."""
    starts, rows = np.unique(np.floor(positions / length) * length, return_counts=True)
    return starts, rows.astype(float)


def test_the_usual_feed_is_read_from_the_references_windows():
    usual = usual_feed(np.arange(100) * HOUR, np.full(100, 60.0), length=HOUR)
    assert UsualFeed(gap=60.0, window=HOUR, longest=HOUR, fewest=300.0) == usual


def test_windows_of_rows_give_gap_and_longest_silence_too():
    usual = usual_feed(np.array([0.0, HOUR, 4 * HOUR]), np.full(3, 500.0), length=None)
    assert (4 * HOUR / 1000, 2 * HOUR, 3 * HOUR, None) == (
        usual.gap,
        usual.window,
        usual.longest,
        usual.fewest,
    )


@pytest.mark.parametrize("starts", [[], [0.0], [5.0, 5.0]])
def test_too_few_windows_say_nothing_of_the_usual_feed(starts):
    assert None is usual_feed(np.array(starts), np.ones(len(starts)), length=HOUR)


def test_silence_is_five_windows_or_many_gaps_or_beyond_the_longest_night():
    gap = 10 * DAY
    assert 5 * HOUR == UsualFeed(gap=60.0, window=HOUR, longest=HOUR).most_silence()
    assert gap * np.log(90 / (0.1 * 10)) == pytest.approx(
        UsualFeed(gap=gap, window=HOUR, longest=HOUR).most_silence()
    )
    assert 24 * HOUR == UsualFeed(gap=60.0, window=HOUR, longest=16 * HOUR).most_silence()


@pytest.mark.parametrize("gap", [600.0, HOUR, 5 * HOUR, DAY])
def test_a_feed_of_independent_rows_is_called_silent_at_most_once_in_900_days(gap):
    """400 streams of 90 days: the rate is the stated one, within three standard errors."""
    rng = np.random.default_rng(1)
    limit = UsualFeed(gap=gap, window=0.0, longest=0.0).most_silence()
    gaps = rng.exponential(gap, size=int(400 * 90 * DAY / gap))
    alarms = int((gaps > limit).sum())
    error = np.sqrt(FALSE_ALARMS / 400)
    assert abs(alarms / 400 - FALSE_ALARMS) < 3 * error


def test_nights_and_weekends_that_the_reference_saw_are_no_alarm():
    hours = np.arange(28 * 24)
    busy = (hours % 24 >= 8) & (hours % 24 < 18) & (hours // 24 % 7 < 5)
    usual = usual_feed(hours[busy] * HOUR, np.full(busy.sum(), 50.0), length=HOUR)
    silences = np.diff(hours[busy]) * HOUR
    assert {OK} == {judge_silence(0.0, silence, usual=usual, limit=None).condition for silence in silences}
    assert FAILED is judge_silence(0.0, 5 * DAY, usual=usual, limit=None).condition


def test_a_silent_feed_fails_with_both_numbers():
    usual = UsualFeed(gap=60.0, window=HOUR, longest=HOUR)
    well = judge_silence(0.0, 5 * HOUR, usual=usual, limit=None)
    silent = judge_silence(0.0, 5 * HOUR + 1, usual=usual, limit=None)
    assert (OK, FAILED) == (well.condition, silent.condition)
    assert (5 * HOUR + 1, 5 * HOUR) == (silent.reason.observed, silent.reason.limit)


def test_a_configured_silence_is_the_limit():
    assert FAILED is judge_silence(0.0, 61.0, usual=None, limit=60.0).condition
    assert OK is judge_silence(0.0, 59.0, usual=None, limit=60.0).condition


def test_a_row_from_the_future_is_no_silence():
    assert OK is judge_silence(100.0, 0.0, usual=None, limit=60.0).condition


def test_without_a_row_since_the_training_the_age_of_the_newest_that_was_trained_on_counts():
    well = judge_silence(None, 59.0, usual=None, limit=60.0, trained_to=0.0)
    silent = judge_silence(None, 7200.0, usual=None, limit=60.0, trained_to=0.0)
    assert (OK, 59.0) == (well.condition, well.reason.observed)
    assert (FAILED, 7200.0) == (silent.condition, silent.reason.observed)
    assert "No row has come since the champion's training; its newest is 2 h old" in silent.reason.message
    assert OK is judge_silence(7190.0, 7200.0, usual=None, limit=60.0, trained_to=0.0).condition


def test_a_feed_of_which_no_row_is_known_is_not_judged():
    assert NO is judge_silence(None, 0.0, usual=None, limit=60.0).condition


def test_silence_is_not_judged_of_a_given_end_an_unknown_feed_or_historical_data():
    usual = UsualFeed(gap=60.0, window=HOUR, longest=HOUR)
    assert NO is judge_silence(0.0, None, usual=usual, limit=None).condition
    assert NO is judge_silence(0.0, DAY, usual=None, limit=None).condition
    assert NO is judge_silence(0.0, 9000 * DAY, usual=usual, limit=None, training_lag=8999 * DAY).condition
    assert FAILED is judge_silence(0.0, DAY, usual=usual, limit=None, training_lag=HOUR).condition


def test_a_thin_feed_warns_and_a_seasonal_one_does_not():
    rng = np.random.default_rng(3)
    hours = np.arange(60 * 24)
    counts = rng.poisson(200 + 150 * np.sin(2 * np.pi * hours / 24))
    usual = usual_feed(hours[:720] * HOUR, counts[:720].astype(float), length=HOUR)
    later = [judge_rate(list(counts[at - 5 : at]), usual=usual).condition for at in range(725, len(hours))]
    assert {OK} == set(later)
    assert WARNING is judge_rate([20, 20, 20, 20, 20], usual=usual).condition


@pytest.mark.parametrize("counts", [[], [0, 0, 0, 0]])
def test_the_rate_is_not_judged_of_too_few_windows(counts):
    usual = UsualFeed(gap=60.0, window=HOUR, longest=HOUR, fewest=300.0)
    assert NO is judge_rate(counts, usual=usual).condition
    assert NO is judge_rate([1] * 5, usual=None).condition


def test_empty_windows_count_towards_the_fewest_rows_of_the_reference():
    starts = np.array([hour for hour in range(48) if hour % 24 >= 6]) * HOUR
    assert 0.0 == usual_feed(starts, np.full(len(starts), 9.0), length=HOUR).fewest


@pytest.mark.parametrize(
    ("labelled", "condition"),
    [(450, OK), (361, OK), (359, WARNING), (226, WARNING), (224, FAILED), (0, FAILED)],
)
def test_labels_are_compared_with_their_usual_share(labelled, condition):
    earlier = [(100, 90)] * 10
    newest = [(500, labelled), *[(0, 0)] * 4]
    assert condition is judge_labels([*earlier, *newest], min_rows=100).condition


def test_the_rate_of_a_false_warning_of_labels_is_as_stated():
    assert binom.cdf(71, 100, 0.9) < 1e-6


@pytest.mark.parametrize(
    ("windows", "condition"),
    [([], NO), ([(50, 0)], NO), ([(200, 0)], FAILED), ([(200, 10)], NO), ([(0, 0)] * 20, NO)],
)
def test_without_a_past_only_the_lack_of_any_label_fails(windows, condition):
    assert condition is judge_labels(windows, min_rows=100).condition


def test_a_champion_resolves_loads_and_answers_or_says_what_is_wrong():
    assert FAILED is judge_champion(None, rows=0, trouble=None).condition
    broken = judge_champion(3, rows=5, trouble="ValueError: no such column")
    assert (FAILED, 3.0) == (broken.condition, broken.reason.observed)
    assert "no such column" in broken.reason.message
    assert OK is judge_champion(3, rows=5, trouble=None).condition


def test_each_server_is_a_check_of_its_own():
    ledger, mlflow = judge_servers({"ledger": None, "mlflow": "refused"})
    assert [("ledger", OK), ("mlflow", FAILED)] == [(one.name, one.condition) for one in (ledger, mlflow)]


@pytest.mark.parametrize(("free", "condition"), [(0.2, OK), (0.099, WARNING), (0.049, FAILED)])
def test_disk_warns_before_it_fails(free, condition):
    assert condition is judge_disk(free, limit=0.05).condition


@pytest.mark.parametrize(
    ("now", "limit", "condition"), [(DAY, DAY, OK), (DAY + 1, DAY, WARNING), (DAY, None, NO)]
)
def test_an_old_model_warns_where_that_is_wanted(now, limit, condition):
    assert condition is judge_age(0.0, now, limit=limit).condition


@pytest.mark.parametrize(("hours", "condition"), [(3, OK), (3.1, WARNING), (None, NO)])
def test_three_intervals_without_a_run_warn(hours, condition):
    last = NOW - timedelta(hours=hours) if hours else None
    assert condition is judge_last_run(last, NOW, interval=HOUR).condition


def tell(*reports, level="drift"):
    alerts = []
    for place, conditions in enumerate(reports):
        checks = tuple(
            check(name, condition, f"{name} is {condition}.") for name, condition in conditions.items()
        )
        alerts.append(
            health_alert(
                HealthReport(checks=checks),
                alerts[-1] if alerts else None,
                model="m",
                version=1,
                now=NOW + timedelta(hours=place),
                config=AlertsConfig(level=level),
            )
        )
    return alerts


def test_failing_health_opens_an_alert_once_and_resolves_it_once():
    alerts = tell({"disk": OK}, {"disk": FAILED}, {"disk": FAILED}, {"disk": OK}, {"disk": OK})
    assert ["none", "opened", "none", "resolved", "none"] == [alert.change for alert in alerts]
    assert (AlertLevel.CRITICAL, "2026-03-01T01:00:00+00:00") == (
        alerts[2].open[0].level,
        alerts[2].open[0].since,
    )


def test_a_check_that_does_not_apply_leaves_its_alarm_as_it_is():
    alerts = tell({"feed": FAILED}, {"feed": NO}, {"feed": OK})
    assert ["opened", "none", "resolved"] == [alert.change for alert in alerts]


def test_a_health_warning_is_told_where_that_is_wanted_and_gets_worse():
    reports = [{"disk": WARNING}, {"disk": FAILED}]
    assert ["none", "opened"] == [alert.change for alert in tell(*reports)]
    assert ["opened", "worsened"] == [alert.change for alert in tell(*reports, level="warning")]


def test_a_report_is_as_ill_as_its_worst_check_that_applies():
    checks = [check("a", OK, ""), check("b", NO, ""), check("c", WARNING, "")]
    assert (OK, WARNING) == tuple(HealthReport(checks=tuple(c)).condition for c in (checks[:2], checks))
    assert ["c_warning"] == [reason.code for reason in HealthReport(checks=tuple(checks)).reasons]


def test_who_reports_one_check_leaves_the_alarms_of_other_checks_open():
    def told(before, *checks):
        report, config = HealthReport(checks=checks), AlertsConfig()
        return health_alert(report, before, model="m", version=1, now=NOW, config=config)

    first = told(None, check("disk", FAILED, "full."), check("champion", OK, "well."))
    second = told(first, check("serving", FAILED, "version 2 was refused."))
    third = told(second, check("disk", OK, "room."), check("champion", OK, "well."))
    assert ["disk", "serving"] == [alarm.name for alarm in second.open]
    assert (["disk"], ["serving"]) == (
        [alarm.name for alarm in third.resolved],
        [alarm.name for alarm in third.open],
    )
