"""A service that is killed by -9 under load loses nothing that it answered, and answers a repeat as it did at first."""

import pytest

from tests.support.service_kills import answered_by, faults_in, load_and_kill
from tests.support.serving import model_of

REQUESTS = 600


@pytest.mark.slow
def test_a_kill_under_load_loses_nothing_and_doubles_nothing(watched, tmp_path):
    model = model_of(watched)
    heard = load_and_kill(model, REQUESTS, tmp_path, kills=1, processes=1, connections=8)
    faults = faults_in(model, REQUESTS, heard)
    assert dict.fromkeys(faults, 0) == faults
    assert 1 <= heard.broke
    assert {1, 2} == set(answered_by(heard))
