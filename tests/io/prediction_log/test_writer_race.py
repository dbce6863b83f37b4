"""Several services that share a log give a key one answer."""

import pytest

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.io.prediction_log.records import KnownOutcome
from evergreen.tasks.io.prediction_log.store import Log
from evergreen.tasks.io.prediction_log.writer import LogWriter
from tests.support.logs import MODEL, WAIT, served
from tests.support.processes import race

KEYS = 150


def answer_all(url, number):
    """Answer the same keys as everybody else, each with a score of one's own; return what the clients are told."""
    writer = LogWriter(url, patience=30.0)
    rows = [served(f"k{key}", position=float(key), score=float(number)) for key in range(KEYS)]
    futures = [writer.put(MODEL, [row], keyed=True) for row in rows]
    known = [KnownOutcome(prediction_id=f"k{key}", outcome=1, known_at=float(number)) for key in range(KEYS)]
    receipt = writer.put_outcomes(MODEL, known)
    told = [future.result(WAIT)[0].score for future in futures]
    writer.stop()
    return told, receipt.result(WAIT).written


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
def test_services_that_meet_the_same_keys_at_once_give_the_same_answers(store, tmp_path, request):
    url = f"sqlite:///{tmp_path}/log.db"
    url = request.getfixturevalue("postgres_url") if store == "postgres" else url
    log = Log(url)
    answers = race(answer_all, [(url, number) for number in range(4)])
    frame = log.read_predictions(MODEL, Window()).rows.frame
    assert frame["@prediction_id"].tolist() == [f"k{key}" for key in range(KEYS)]
    assert [told for told, _ in answers] == [frame["@score"].tolist()] * 4
    assert sum(written for _, written in answers) == KEYS
