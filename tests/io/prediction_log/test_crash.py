"""A service killed at any step of the log's writer loses nothing it acknowledged and doubles nothing."""

from tests.support.log_crash import enumerate_log_crashes
from tests.support.races import race


def test_killed_at_every_step_nothing_acknowledged_is_lost_and_nothing_is_double(tmp_path):
    (found,) = race(enumerate_log_crashes, [(str(tmp_path / "logs"), None, [["b-0", "b-1"]])])
    met = " ".join(where for where, _ in found)
    for step in ("before commit", "after commit", "after insert_predictions", "acknowledged"):
        assert step in met
    assert [(where, wrong) for where, wrong in found if wrong] == []
