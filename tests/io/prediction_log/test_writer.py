"""One contract for the log's writer on every log: in memory, on SQLite, on a real PostgreSQL."""

import asyncio
import math
import threading

import numpy as np
import pytest

from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.core.serving.idempotency import IdConflict
from evergreen.tasks.io.prediction_log.records import (
    KnownOutcome,
    OutcomeReceipt,
    Prediction,
    QueueFull,
    ShadowScore,
    fresh_id,
)
from evergreen.tasks.io.prediction_log.writer import LogWriter, to_loop
from tests.support.logs import LOGS, MODEL, NOW, WAIT, Place, served

EVER = Window()


@pytest.fixture(params=LOGS)
def place(request, tmp_path):
    return Place(request.param, tmp_path, request)


@pytest.fixture
def writer(place):
    made = LogWriter(place.opened(), now=lambda: NOW)
    yield made
    assert made.stop(timeout=WAIT)


def known(name, outcome=1, known_at=5.0):
    return KnownOutcome(prediction_id=name, outcome=outcome, known_at=known_at)


def put(writer, *rows, model=MODEL, keyed=False):
    return writer.put(model, rows, keyed=keyed).result(WAIT)


def outcomes(writer, *rows):
    return writer.put_outcomes(MODEL, rows).result(WAIT)


def test_what_was_put_is_in_the_log_when_its_future_is_done(writer, place):
    shadow = ShadowScore(variant="night", version=4, score=0.75, decision=1)
    rows = (
        served("p1", shadows=(shadow,)),
        served("p2", position=2.0, entity=None, features=b'{"x":2,"c":"b"}'),
    )
    assert writer.put(MODEL, rows).result(WAIT) is rows
    frame = place.log.read_predictions(MODEL, EVER).rows.frame
    assert frame.drop(columns=["@outcome", "@known_at"]).to_dict("list") == {
        "c": ["a", "b"],
        "x": [1.5, 2.0],
        "@score": [0.25, 0.25],
        "@decision": [0, 0],
        "@version": [3, 3],
        "@variant": ["champion", "champion"],
        "@entity": ["ada", None],
        "@prediction_id": ["p1", "p2"],
    }
    shadows = place.log.read_shadows(MODEL, EVER).rows.frame
    assert shadows[["@prediction_id", "@variant", "@version", "@score", "@decision"]].values.tolist() == [
        ["p1", "night", 4, 0.75, 1]
    ]


def test_what_the_writer_wrote_the_slow_path_knows_as_the_same(writer, place):
    put(writer, served("p1", features=b'{"x":1.5,"c":"a"}'))
    again = Prediction(
        prediction_id="p1",
        position=1.0,
        features={"c": "a", "x": 1.5},
        score=0.25,
        decision=0,
        version=3,
        variant="champion",
        entity="ada",
    )
    assert place.log.append_predictions(MODEL, [again], at=NOW) == 0
    assert put(writer, served("p1"), keyed=True)[0].score == 0.25


def test_a_key_that_comes_again_gets_the_first_answer(writer, place):
    put(writer, served("k-0"), served("k-1", score={"a": 0.1, "b": 0.9}, decision="b"), keyed=True)
    later = {"position": 9.0, "version": 4, "variant": "blue", "score": 0.9, "decision": 1}
    again = put(writer, served("k-0", **later), served("k-1", **later), keyed=True)
    assert again == (
        served("k-0", features=b'{"c":"a","x":1.5}'),
        served("k-1", score={"a": 0.1, "b": 0.9}, decision="b", features=b'{"c":"a","x":1.5}'),
    )
    assert place.ids() == ["k-0", "k-1"]


@pytest.mark.parametrize("other", [{"features": {"x": 1.5, "c": "b"}}, {"entity": "bob"}, {"entity": None}])
def test_a_key_that_comes_again_with_something_else_is_refused_by_name(writer, place, other):
    put(writer, served("k-0"), served("k-1"), keyed=True)
    with pytest.raises(IdConflict, match="'k-1'") as refused:
        put(writer, served("k-0"), served("k-1", **other), keyed=True)
    assert refused.value.prediction_id == "k-1"


def test_of_a_request_that_grew_under_its_key_nothing_is_written(writer, place):
    put(writer, served("k-0"), keyed=True)
    with pytest.raises(IdConflict, match="'k-0'"):
        put(writer, served("k-0"), served("k-1"), keyed=True)
    assert place.ids() == ["k-0"]


def test_first_answers_are_found_without_putting_anything(writer, place):
    first = writer.put(MODEL, [served("k-0", request="d0"), served("k-1", request="d1")], keyed=True)
    asked = [
        writer.find(MODEL, digests) for digests in ({"k-0": "d0", "k-1": "d1"}, {"x": "d0"}, {"k-1": "d0"})
    ]
    first.result(WAIT)
    found, nothing, other = asked
    plain = b'{"c":"a","x":1.5}'
    assert found.result(WAIT) == (served("k-0", features=plain), served("k-1", features=plain))
    assert nothing.result(WAIT) is None
    with pytest.raises(IdConflict, match="'k-1'"):
        other.result(WAIT)
    assert place.ids() == ["k-0", "k-1"]


def test_what_was_sent_decides_though_what_is_logged_is_alike(writer, place):
    put(writer, served("k", request="h:1"), keyed=True)
    assert put(writer, served("k", request="h:1", features={}), keyed=True)[0].prediction_id == "k"
    with pytest.raises(IdConflict, match="'k'"):
        put(writer, served("k", request="h:2"), keyed=True)


def test_the_same_key_twice_at_once_is_one_prediction(writer, place):
    futures = [writer.put(MODEL, [served("k", score=n / 100)], keyed=True) for n in range(50)]
    answers = {future.result(WAIT)[0].score for future in futures}
    assert answers == set(place.log.read_predictions(MODEL, EVER).rows.frame["@score"])
    assert len(answers) == 1


def test_a_refused_key_fails_no_neighbour(writer, place):
    put(writer, served("k"), keyed=True)
    futures = [
        writer.put(MODEL, [served("k", entity="bob") if n == 5 else served(n)], keyed=n == 5)
        for n in range(10)
    ]
    assert [n for n, future in enumerate(futures) if isinstance(future.exception(WAIT), IdConflict)] == [5]
    assert sorted(place.ids()) == sorted(["k", *(str(n) for n in range(10) if n != 5)])


def test_models_do_not_share_ids(writer, place):
    put(writer, served("k"), keyed=True)
    put(writer, served("k", entity="bob"), model="churn", keyed=True)
    assert (place.ids(), place.ids("churn")) == (["k"], ["k"])


def test_a_fresh_id_that_is_taken_all_the_same_is_refused_and_its_neighbours_are_written(writer, place):
    put(writer, served("p"))
    futures = [writer.put(MODEL, [served(name, entity="bob")]) for name in ("q", "p", "r")]
    assert [type(future.exception(WAIT)) for future in futures] == [type(None), IdConflict, type(None)]
    assert sorted(place.ids()) == ["p", "q", "r"]


def test_outcomes_are_written_once_before_or_after_their_predictions(writer, place):
    assert outcomes(writer, known("p1"), known("p2", "no")) == OutcomeReceipt(written=2, known=0)
    put(writer, served("p1"), served("p2", position=2.0))
    assert outcomes(writer, known("p1", known_at=9.0), known("p3")) == OutcomeReceipt(written=1, known=1)
    frame = place.log.read_predictions(MODEL, EVER).rows.frame
    assert (frame["@outcome"].tolist(), frame["@known_at"].tolist()) == ([1, "no"], [5.0, 5.0])


def test_an_outcome_that_contradicts_is_named_and_all_others_are_written(writer, place):
    outcomes(writer, known("p1", 1))
    told = outcomes(
        writer, known("p1", 0), known("p2", 1), known("p2", 1.0), known("p3", 1), known("p3", True)
    )
    assert told == OutcomeReceipt(written=2, known=1, refused=("p1", "p3"))
    put(writer, *(served(f"p{n}", position=float(n)) for n in (1, 2, 3)))
    assert place.log.read_predictions(MODEL, EVER).rows.frame["@outcome"].tolist() == [1, 1, 1]


def test_what_shadows_say_later_is_kept_of_predictions_that_are_there(writer, place):
    put(writer, served("p1"))
    say = ShadowScore(variant="night", version=4, score=0.75)
    assert writer.put_shadows(MODEL, {"p1": say, "p9": say}) is None
    writer.put_shadows(MODEL, {"p1": ShadowScore(variant="night", version=4, score=0.1)})
    outcomes(writer)  # whatever was put before is written by now
    put(writer, served("p9", position=9.0))
    frame = place.log.read_shadows(MODEL, EVER).rows.frame
    assert (frame["@prediction_id"].tolist(), frame["@score"].tolist()) == (["p1"], [0.75])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"prediction_id": ""}, "has 0 characters"),
        ({"prediction_id": "x" * 256}, "has 256 characters"),
        ({"entity": "a\0b"}, "without NUL"),
        ({"entity": "\ud800"}, "Unicode"),
        ({"variant": "v" * 65}, "1 to 64"),
        ({"position": math.nan}, "no point on a clock"),
        ({"score": math.inf}, "cannot be logged"),
        ({"score": {"a": -math.inf}}, "cannot be logged"),
        ({"features": {"x": math.inf}}, "cannot be logged"),
        ({"features": {"x": object()}}, "cannot be logged"),
        ({"decision": {1, 2}}, "cannot be logged"),
    ],
)
def test_what_no_log_can_hold_is_refused_at_once_and_never_reaches_the_others(writer, place, wrong, said):
    with pytest.raises(InputError, match=said):
        writer.put(MODEL, [served("p"), served("q", **wrong)])
    with pytest.raises(InputError, match="'p' comes twice"):
        writer.put(MODEL, [served("p"), served("q"), served("p")])
    put(writer, served("☃" * 255, entity="é" * 255, score=np.float64(0.5), decision=np.int64(1)))
    assert place.ids() == ["☃" * 255]


def test_values_are_logged_as_the_slow_path_logs_them(writer, place):
    features = {
        "n": np.int64(7),
        "f": np.float64(0.5),
        "none": math.nan,
        "at": NOW,
        "b": np.bool_(True),
        "s": '"\\☃\t',
    }
    put(writer, served("p1", features=features, score=math.nan))
    slow = Prediction(prediction_id="p2", position=2.0, features=features, score=math.nan, decision=0)
    place.log.append_predictions(MODEL, [slow], at=NOW)
    frame = place.log.read_predictions(MODEL, EVER).rows.frame
    for name in (*features, "@score"):
        assert frame[name].tolist()[0] == frame[name].tolist()[1] or frame[name].isna().all()


def test_nothing_put_is_nothing_written(writer, place):
    assert put(writer) == ()
    assert outcomes(writer) == OutcomeReceipt(written=0, known=0)
    assert place.ids() == []


def test_many_threads_that_put_at_once_each_get_their_own(writer, place):
    def work(number):
        for turn in range(20):
            name = f"{number}-{turn}"
            answers[name] = put(writer, served(name))[0].prediction_id

    answers = {}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {name: name for name in place.ids()}
    assert len(answers) == 320
    state = writer.state()
    assert (state.depth, state.rows, state.failed) == (0, 320, 0)
    assert state.batches < 320


def test_an_event_loop_awaits_its_rows_and_one_that_gave_up_hurts_nobody(place):
    async def main():
        writer = LogWriter(place.opened(), delivery=to_loop(asyncio.get_running_loop()))
        futures = [writer.put(MODEL, [served(n)]) for n in range(100)]
        futures[3].cancel()
        done = await asyncio.gather(*futures, return_exceptions=True)
        with pytest.raises(IdConflict):
            await writer.put(MODEL, [served("4", entity="bob")], keyed=True)
        writer.stop()
        return done

    done = asyncio.run(main())
    assert [n for n, each in enumerate(done) if isinstance(each, BaseException)] == [3]
    assert len(place.ids()) == 100


def test_more_than_may_wait_is_refused_at_once_and_what_was_taken_is_written(place, stuck):
    writer = LogWriter(stuck.store, capacity=10)
    taken = [writer.put(MODEL, [served(n)]) for n in range(10)]
    with pytest.raises(QueueFull, match="10 rows wait") as full:
        writer.put(MODEL, [served("late")])
    assert full.value.retry_after > 0
    with pytest.raises(QueueFull):
        writer.put_outcomes(MODEL, [known("p")])
    assert (writer.state().depth, any(future.done() for future in taken)) == (10, False)
    stuck.release()
    assert [future.result(WAIT)[0].prediction_id for future in taken] == [str(n) for n in range(10)]
    assert put(writer, served("late"))[0].prediction_id == "late"
    assert writer.stop(timeout=WAIT)
    assert len(place.ids()) == 11


def test_shadows_leave_half_of_the_queue_to_predictions(place, stuck):
    writer = LogWriter(stuck.store, capacity=10)
    said = ShadowScore(variant="night", version=4, score=0.75, decision=1)
    taken = [writer.put(MODEL, [served(n)]) for n in range(4)]
    writer.put_shadows(MODEL, {"0": said})
    with pytest.raises(QueueFull, match="5 rows wait for the log, 1 more are too many: at most 5 may"):
        writer.put_shadows(MODEL, {"1": said})
    taken += [writer.put(MODEL, [served(n)]) for n in range(4, 9)]
    stuck.release()
    for future in taken:
        future.result(WAIT)
    assert writer.stop(timeout=WAIT)
    assert place.log.read_shadows(MODEL, EVER).rows.frame["@prediction_id"].tolist() == ["0"]


def test_stop_writes_what_waits_and_takes_nothing_more(place, stuck):
    writer = LogWriter(stuck.store, most_rows=7)
    taken = [writer.put(MODEL, [served(n)]) for n in range(40)]
    assert writer.stop(timeout=0.01) is False
    with pytest.raises(QueueFull, match="stopping"):
        writer.put(MODEL, [served("late")])
    stuck.release()
    assert writer.stop(timeout=WAIT)
    assert all(future.done() and future.exception() is None for future in taken)
    assert len(place.ids()) == 40


def test_a_batch_is_bounded_but_a_request_is_never_cut(place, stuck):
    writer = LogWriter(stuck.store, most_rows=4)
    taken = [writer.put(MODEL, [served(f"{n}-{row}") for row in range(3)]) for n in range(8)]
    taken.append(writer.put(MODEL, [served(f"big-{row}", position=2.0) for row in range(100)]))
    stuck.release()
    for future in taken:
        future.result(WAIT)
    writer.stop()
    assert max(stuck.sizes[:-1]) <= 6
    assert stuck.sizes[-1] >= 100
    assert len(place.ids()) == 124


def test_fresh_ids_ascend_with_time_and_never_meet():
    ids = [fresh_id() for _ in range(10_000)]
    assert len(set(ids)) == 10_000
    assert [name[:12] for name in ids] == sorted(name[:12] for name in ids)
    assert {len(name) for name in ids} == {32}


class Stuck:
    """A store whose first transaction waits until it is released; it notes how many rows each one inserted."""

    def __init__(self, store):
        self.store, self.sizes = store, []
        self._open = threading.Event()
        begin, insert = store.begin, store.insert_predictions

        def wait():
            assert self._open.wait(WAIT)
            begin()

        def note(records, *, at):
            self.sizes.append(len(records))
            return insert(records, at=at)

        store.begin, store.insert_predictions = wait, note

    def release(self):
        self._open.set()


@pytest.fixture
def stuck(place):
    from evergreen.tasks.io.prediction_log.writer import open_store

    opened = place.opened()
    return Stuck(open_store(opened, timeout=5.0) if isinstance(opened, str) else opened)
