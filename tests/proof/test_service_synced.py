"""What the service answers is on the disk before the answer leaves, by a trace of its system calls."""

import time

import httpx
import pytest

from tests.support.postgres_traced import tracing_syncs, unsynced
from tests.support.service_clients import ask_once, main
from tests.support.service_traced import files_of, look_at_answers, tracing
from tests.support.serving import PREDICT, model_of, rows, started

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]


def answers_of(watched, folder, *, requests, **options):
    """Return what a power cut at each answer would have left, of a service that four clients ask at once."""
    model, heard = model_of(watched), folder / "heard"
    log, trace, cut = model.stores.log.url.database, folder / "trace", folder / "cut"
    cut.mkdir()
    with started(model, folder, **options) as served:
        port = int(served.url.rpartition(":")[2])
        ask_once(port, [requests])  # so that the files are there
        files = files_of(log)
        with tracing(served.process, trace):
            main(port, 0, requests, 1, heard, 4)
    found, moved = look_at_answers(trace, files, cut)
    assert requests == len(found) == heard.read_bytes().count(b"\n")
    return [(ids, lost) for ids, lost in found if lost], moved


def test_a_power_cut_at_the_moment_of_any_answer_leaves_what_was_answered(watched, tmp_path):
    lost, moved = answers_of(watched, tmp_path, requests=900)
    print(f"\n900 answers, {moved} pages moved from the WAL on the way; lost: {len(lost)}")
    assert [] == lost
    assert 0 < moved


def test_a_log_that_does_not_wait_for_the_disk_is_found_out(watched, tmp_path):
    lost, _ = answers_of(watched, tmp_path, requests=60, program="tests.support.service_traced")
    print(f"\n60 answers, lost with synchronous = NORMAL: {len(lost)}")
    assert lost


def test_postgresql_syncs_its_wal_between_each_question_and_its_answer(
    watched, tmp_path, request, monkeypatch
):
    url, trace, spans = request.getfixturevalue("postgres_url"), tmp_path / "trace", []
    monkeypatch.setenv("EVERGREEN_LOG_URL", url)
    with (
        tracing_syncs(url, trace),  # begun first: only what is forked later is traced with its parent
        started(model_of(watched), tmp_path) as served,
        httpx.Client(base_url=served.url) as client,
    ):
        for row in rows(50):
            asked = time.time()
            assert 200 == client.post(PREDICT, json={"records": [row]}).status_code
            spans.append((asked, time.time()))
            time.sleep(0.01)
    assert [] == unsynced(trace, spans)
