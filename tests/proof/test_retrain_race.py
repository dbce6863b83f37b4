"""Twenty ``evergreen retrain`` commands of the same second: one starts, nineteen are told when the next may."""

import time
from collections import Counter
from datetime import datetime, timedelta

import pytest

from evergreen.tasks.core.promotion.ledger import check_chain
from evergreen.tasks.core.retraining.history import HELPED
from evergreen.tasks.io.retraining_claims import read_history
from tests.support.retrain_crash import EVERGREEN, Place

pytestmark = [pytest.mark.proof, pytest.mark.server, pytest.mark.timeout(3600)]
MANY = 20
COOLDOWN = timedelta(hours=1)


@pytest.mark.parametrize("turned", [True, False], ids=["it helps", "it does not help"])
@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_of_twenty_commands_at_once_one_retrains_and_nineteen_are_held_until_the_cooldown_ends(
    store, turned, prefect_server, watched_store, tmp_path, monkeypatch, request
):
    ledger = request.getfixturevalue("postgres_url") if store == "postgres" else None
    place = Place(tmp_path / "place", watched_store, monkeypatch, ledger=ledger, turned=turned)
    begun = time.monotonic()
    processes = [place.start(EVERGREEN, name=f"run{number}") for number in range(MANY)]
    seconds = time.monotonic() - begun
    assert [0] * MANY == [process.wait(1800) for process in processes], place.said("run*.txt")
    answers = [place.answer(f"run{number}") for number in range(MANY)]
    held = [one for one in answers if one["state"] == "Blocked"]
    (started,) = (one for one in answers if one["state"] != "Blocked")
    assert MANY - 1 == len(held)
    assert ["started", "stage", "stage", "stage", "ended"] == place.kinds()
    (attempt,) = read_history(place.ledger, place.model).attempts
    assert (attempt.claim, attempt.state.value) == (started["claim"], started["state"])
    assert (attempt.state in HELPED) == turned
    waits = Counter(
        (one["reasons"][0]["code"], datetime.fromisoformat(one["next_allowed_at"]) - attempt.at)
        for one in held
    )
    print(f"\n{store}: {MANY} started within {seconds:.1f} s, one {started['state']}, held: {dict(waits)}")
    known = {("in_progress", COOLDOWN), ("cooldown", COOLDOWN if turned else 2 * COOLDOWN)}
    assert set(waits) <= known
    assert (0, ()) == (place.look().plans_open, check_chain(place.ledger.read()))
    assert "Consistent" == place.look().status["state"]
