"""The service killed by -9 five times while 100,000 requests are made: all that was answered is in the log, once."""

import pytest

from tests.support.service_kills import answered_by, faults_in, load_and_kill
from tests.support.serving import model_of

REQUESTS, KILLS = 100_000, 5

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_hundred_thousand_requests_under_five_kills_are_all_there_once(
    store, watched, tmp_path, request, monkeypatch
):
    if store == "postgres":
        monkeypatch.setenv("EVERGREEN_LOG_URL", request.getfixturevalue("postgres_url"))
    model = model_of(watched)
    heard = load_and_kill(model, REQUESTS, tmp_path, kills=KILLS)
    faults = faults_in(model, REQUESTS, heard)
    print(
        f"\n{store}: predictions by version {answered_by(heard)}, of {len(heard.answers)} requests; {KILLS} kills"
    )
    print(f"{heard.broke} requests cut off, {heard.turned_away} turned away; {faults}")
    assert dict.fromkeys(faults, 0) == faults
    assert model.stores.log.url.drivername.startswith(store)
    assert KILLS <= heard.broke
    assert {1, 2} == set(answered_by(heard))
