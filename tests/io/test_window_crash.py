"""A monitor killed at any point of its writing and run again looks at each window exactly once."""

from tests.support.races import race
from tests.support.window_crash import enumerate_window_crashes, expected_after, found_in, monitor


def test_a_monitor_killed_at_every_point_judges_each_window_exactly_once(tmp_path):
    (found,) = race(enumerate_window_crashes, [(str(tmp_path / "stores"), None, 2, True)])
    met = " ".join(where for where, _ in found)
    for kind in ("INSERT INTO evergreen_ledger", "INSERT INTO windows", "commit"):
        assert kind in met
    assert [(where, state) for where, state in found if state != expected_after(2)] == []


def test_monitors_that_run_at_the_same_time_judge_each_window_exactly_once(tmp_path):
    urls = f"sqlite:///{tmp_path}/ledger.db", f"sqlite:///{tmp_path}/log.db"
    race(monitor, [(*urls, 25)] * 4)
    assert found_in(*urls) == expected_after(25)
