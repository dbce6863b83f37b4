"""Kill real monitoring commands at random moments: every window once, every alarm told, whatever the database."""

import numpy as np
import pytest

from tests.support.monitor_crash import HOURS, Runs, changing, delivered, told_of
from tests.support.monitored import FIRST, Watched, entries, spans

pytestmark = [pytest.mark.proof, pytest.mark.server, pytest.mark.timeout(3600)]
KILLS = {"sqlite": 30, "postgres": 15}
LEAST = {"sqlite": 20, "postgres": 10}


def contiguous(first, last):
    return [(float(hour), hour + 1.0) for hour in range(first, last)]


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_a_monitor_killed_at_random_moments_judges_each_window_once_and_tells_each_alarm(
    store, prefect_server, watched_store, webhook, tmp_path, monkeypatch, request
):
    watched = Watched(tmp_path, watched_store, monkeypatch)
    monkeypatch.setenv("HOOK", f"json://127.0.0.1:{webhook.port}")
    if store == "postgres":
        url = request.getfixturevalue("postgres_url")
        monkeypatch.setenv("EVERGREEN_LEDGER_URL", url)
        monkeypatch.setenv("EVERGREEN_LOG_URL", url)
    sections = {
        "alerts": {"notify": ["env:HOOK"]},
        "monitoring": {"max_windows": 8 if store == "postgres" else 4},
    }
    setup = watched.setup(changing(), **sections)
    runs = Runs(setup, np.random.default_rng(20260301))
    answer = runs.until_done(kills=KILLS[store])
    print(
        f"\n{store}: {runs.kills} kills, after {sorted(runs.moments)} entries; {len(runs.finished)} runs ended"
    )
    assert runs.kills >= LEAST[store]
    assert contiguous(FIRST, FIRST + HOURS) == spans(setup, "inputs")
    assert contiguous(FIRST, FIRST + HOURS - 1) == spans(setup, "outcomes")
    assert "Drift" == answer["state"]
    check_alarms(setup)
    check_messages(setup, webhook)
    undisturbed = watched.restarted().setup(changing(), **sections)
    Runs(undisturbed, None).until_done(kills=0)
    for phase in ("inputs", "outcomes"):
        assert entries(undisturbed, phase) == entries(setup, phase)


def check_alarms(setup):
    """An alarm that is open is not opened again, and only what is open resolves."""
    for phase in ("inputs", "outcomes"):
        open_now = set()
        for one in entries(setup, phase):
            for change in one["changes"]:
                key = change["kind"], change["column"]
                assert (key in open_now) == (change["change"] != "opened"), one
                open_now = open_now - {key} if change["change"] == "resolved" else open_now | {key}
    changes = [
        change["change"]
        for one in entries(setup, "inputs")
        for change in one["changes"]
        if change["column"] == "x"
    ]
    assert ["opened", "resolved", "opened"] == [change for change in changes if change != "worsened"]


def check_messages(setup, webhook):
    """Whatever the channel was told of arrived, perhaps twice under one key; the newest alert of a topic is settled."""
    arrived = [body["message"].splitlines()[-1].removeprefix("Message ") for body in webhook.got]
    told = delivered(setup, "env:HOOK")
    sent = [payload["key"] for kind, payload in told if kind == "sent"]
    print(f"{len(sent)} messages were noted as sent, {len(arrived)} arrived")
    assert set(sent) == set(arrived)
    assert len(sent) == len(set(sent))
    for topic, keys in told_of(setup).items():
        settled = [payload["number"] for _, payload in told if payload["topic"] == topic]
        assert (settled[-1] if settled else 0) == len(keys)
        knows = [payload["alert"] for _, payload in told if payload["topic"] == topic]
        # None: opened and resolved before it was told
        newest = [alert["open"] if alert else [] for alert in knows]
        still = [one["name"] for one in entries(setup, topic)[-1]["alert"]["open"]]
        assert still == [one["name"] for one in (newest[-1] if newest else [])]
