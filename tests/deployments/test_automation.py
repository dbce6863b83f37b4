"""What is scheduled follows from the configuration."""

from datetime import timedelta

import pytest

from evergreen.deployments.deploy import schedules_of
from tests.support.training_data import model_config


@pytest.mark.parametrize(
    ("path", "expected"), [("offline", []), ("ab", ["ab-test"]), ("shadow", ["ab-test"])]
)
def test_live_tests_are_looked_at_every_hour_where_live_evidence_promotes(path, expected):
    found = schedules_of(
        "ab-test", "evergreen.flows.ab_test.ab_test", model_config(promotion={"evidence": path})
    )
    assert expected == [one.slug for one in found]
    assert all(timedelta(hours=1) == one.schedule.interval for one in found)
