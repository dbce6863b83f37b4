"""How a monitoring run ends: quiet only where the newest window could be judged."""

from evergreen.tasks.core.drift.types import DriftKind, Level
from evergreen.tasks.core.monitoring.window_result import conclude_monitoring, newest_levels
from evergreen.tasks.core.verdict import State
from tests.support.monitoring import insufficient, moved, verdict, window

QUIET = [verdict(DriftKind.DATA), verdict(DriftKind.PREDICTION)]
ALARM = {"kind": "data", "column": "x", "signal": "location", "effect": 0.2, "since": "2024-03-01"}


def conclude(*windows, **options):
    return conclude_monitoring("tested", windows, version=3, **{"open_alarms": [], **options})


def unjudged(place, *kinds):
    return window(place, verdicts=[insufficient(kind, 3) for kind in kinds or DriftKind], n=3)


def warned(place):
    return window(place, verdicts=[verdict(DriftKind.DATA, moved("x", alarm=False)), QUIET[1]])


def codes(result):
    return [reason.code for reason in result.reasons]


def test_without_a_window_nothing_is_said_to_be_quiet():
    result = conclude()
    assert (State.INSUFFICIENT_DATA, ["no_window"]) == (result.state, codes(result))


def test_windows_in_which_nothing_moved_are_quiet():
    result = conclude(window(0, verdicts=QUIET), window(1, verdicts=QUIET))
    assert (State.NO_DRIFT, ["quiet"], 1000) == (result.state, codes(result), result.reasons[0].n)


def test_an_open_alarm_is_drift_whatever_the_newest_window_says():
    for newest in (window(1, verdicts=QUIET), unjudged(1), warned(1)):
        result = conclude(window(0, verdicts=QUIET), newest, open_alarms=[ALARM])
        assert (State.DRIFT, "drift") == (result.state, codes(result)[0])
        assert "x (data, since 2024-03-01)" in result.reasons[0].message


def test_a_newest_window_that_could_not_be_judged_is_not_quiet_for_the_sake_of_older_ones():
    result = conclude(window(0, verdicts=QUIET), unjudged(1))
    assert (State.INSUFFICIENT_DATA, "insufficient") == (result.state, codes(result)[0])
    assert result.reasons[0].message.endswith("the newest could not be judged.")


def test_a_state_does_not_depend_on_how_many_windows_a_run_caught_up_with():
    windows = [window(0, verdicts=QUIET), unjudged(1), window(2, verdicts=QUIET), unjudged(3)]
    assert [State.NO_DRIFT, State.INSUFFICIENT_DATA] * 2 == [conclude(one).state for one in windows]
    assert [State.NO_DRIFT, State.INSUFFICIENT_DATA] * 2 == [
        conclude(*windows[: n + 1]).state for n in range(4)
    ]


def test_outcomes_that_are_not_due_yet_leave_the_newest_window_quiet():
    assert State.NO_DRIFT is conclude(unjudged(0), window(1, verdicts=QUIET)).state


def test_a_kind_that_warns_in_its_newest_window_is_a_warning():
    result = conclude(window(0, verdicts=QUIET), warned(1))
    assert (State.WARNING, "warning") == (result.state, codes(result)[0])
    assert "x (data) moved" in result.reasons[0].message


def test_a_warning_is_not_forgotten_in_a_window_that_could_not_be_judged():
    assert State.WARNING is conclude(warned(0), unjudged(1)).state
    assert State.NO_DRIFT is conclude(warned(0), window(1, verdicts=QUIET)).state


def test_a_drift_without_an_open_alarm_is_a_warning_by_now():
    drifted = window(0, verdicts=[verdict(DriftKind.DATA, moved("x"))])
    assert State.WARNING is conclude(drifted).state
    assert State.DRIFT is conclude(drifted, open_alarms=None).state


def test_a_look_back_counts_its_gravest_window():
    result = conclude(warned(0), window(1, verdicts=QUIET), unjudged(2), open_alarms=None)
    assert State.WARNING is result.state
    assert State.INSUFFICIENT_DATA is conclude(unjudged(0), open_alarms=None).state


def test_each_reason_of_a_kind_is_said_once_with_its_newest_window():
    result = conclude(
        unjudged(0, DriftKind.DATA), unjudged(1, DriftKind.DATA), unjudged(2, DriftKind.CONCEPT)
    )
    assert ["insufficient", "too_few_rows", "too_few_rows"] == codes(result)
    assert result.reasons[1].message.startswith("data, window from 2024-03-01T01:00:00")


def test_a_run_without_a_new_window_says_so_and_keeps_the_state():
    result = conclude(window(0, verdicts=QUIET), fresh=False)
    assert State.NO_DRIFT is result.state
    assert result.reasons[0].message.startswith("No window was due; the newest, from 2024-03-01T00:00:00")


def test_many_columns_are_counted_and_five_are_named():
    many = window(0, verdicts=[verdict(DriftKind.DATA, *(moved(f"x{n}", alarm=False) for n in range(8)))])
    assert "and 3 more moved." in conclude(many).reasons[0].message


def test_levels_are_those_of_the_newest_window_that_could_judge_a_kind():
    levels = newest_levels([warned(0), unjudged(1, DriftKind.DATA, DriftKind.CONCEPT)])
    assert {"data": Level.WARNING, "prediction": Level.QUIET, "concept": Level.INSUFFICIENT} == levels
