"""A row that a model fails on fails alone, and what takes long leaves the loop to others."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from evergreen.deployments.service import endpoint as endpoint_module
from evergreen.deployments.service.batching import Batcher, predict_isolated
from evergreen.deployments.service.errors import RequestProblem
from evergreen.deployments.service.live import Live
from evergreen.deployments.service.metrics import ServiceMetrics
from evergreen.deployments.service.scoring import MAX_ISOLATED_ROWS, FailedRow
from evergreen.deployments.service.shadows import Shadows
from evergreen.tasks.core.config.serving import ServingConfig
from evergreen.tasks.core.serving.answers import Answers
from evergreen.tasks.core.serving.batch import Concealer, concat
from tests.support.canaries import Here, Stage, Version

GOOD = Version(spread=0.0)


def staged(champion=GOOD, canary=GOOD, share=0.5):
    return Stage(champion, canary, steps=[share], rng=np.random.default_rng(1))


class Recorded:
    """A champion that tells in which thread it was asked, and for how many rows; negative rows are refused."""

    def __init__(self, signature, *, form="linear", said=None):
        self.signature, self.form = signature, form
        self.calls, self._said = [], said or (lambda: None)

    def score(self, batch):
        self.calls.append((threading.current_thread() is threading.main_thread(), batch.n))
        self._said()
        if (batch.numbers < 0).any():
            raise ValueError("negative")
        return Answers(batch.numbers[:, 0].copy(), [None] * batch.n)


def answered(stage, model, requests, *, alone=True, **config):
    """Let the champion (alone, or beside an arm) answer requests at one desk; return what each gets."""
    live = stage.served.live
    object.__setattr__(live.champion, "model", model)
    if alone:
        plain = replace(live.traffic, plan=live.plan.without("v8"))
        stage.served.live = Live(
            champion=live.champion, traffic=plain, arms={"champion": live.arms["champion"]}
        )

    async def scenario():
        with ThreadPoolExecutor(2) as pool:
            desk = Batcher(
                "tested",
                ServingConfig(log="off", **config),
                writer=None,
                metrics=ServiceMetrics(),
                pool=pool,
                shadow_pool=pool,
                canary=stage.canary,
                conceal=Concealer((), entity=None, how="hash", key=b"k" * 32),
            )
            asked = [stage.asked(x) for x in requests]
            for one in asked:
                one.future, one.deadline = asyncio.get_running_loop().create_future(), time.monotonic() + 60
            found = await asyncio.gather(*(desk.ask(one) for one in asked), return_exceptions=True)
            desk.close()
            return found

    return asyncio.run(scenario())


def test_a_row_that_the_challenger_refuses_is_its_only_error_and_all_others_stay_with_it():
    """Fifty requests of one row in one turn."""
    stage = staged(canary=Version(spread=0.0, refuses=0.1, beyond=0.9), share=1.0)
    asyncio.run(stage.canary._check())
    values = [0.5] * 20 + [0.95] + [0.5] * 29
    group = [stage.asked([value]) for value in values]
    rows, routed = predict_isolated(group)
    stage.canary.count(stage.served.live, rows, routed)
    assert ["champion" if value > 0.9 else "v8" for value in values] == [row[3] for row in rows]
    arm = stage.canary._controller.counts.figures()[1]
    assert (50, 1, 1, 49) == (arm.rows, arm.errors, arm.erred, arm.answered)


def test_the_champions_failures_count_as_the_challengers_do():
    bad = Version(spread=0.0, refuses=0.1, beyond=0.9)
    stage = staged(champion=bad, canary=bad)
    asyncio.run(stage.canary._check())
    group = [stage.asked([0.95 if number % 10 == 0 else 0.5]) for number in range(400)]
    rows, routed = predict_isolated(group)
    stage.canary.count(stage.served.live, rows, routed)
    champion, arm = stage.canary._controller.counts.figures()
    assert 40 == champion.erred + arm.erred
    assert champion.erred > 10
    assert arm.erred > 10
    assert [number % 10 == 0 for number in range(400)] == [isinstance(row, FailedRow) for row in rows]


def test_an_arm_that_fails_on_everything_is_asked_about_a_bounded_number_of_rows():
    stage = staged(canary=Version(spread=0.0, refuses=1.0), share=1.0)
    rows, routed = predict_isolated([stage.asked(np.full(1000, 0.5))])
    assert {"champion"} == {row[3] for row in rows}
    assert len(stage.asked_rows(8)) <= 2 * MAX_ISOLATED_ROWS + 3
    assert MAX_ISOLATED_ROWS == sum(one.failed for one in routed)


@pytest.mark.parametrize(("alone", "field"), [(True, None), (False, "records[1]")])
def test_one_bad_row_refuses_its_request_alone_and_is_looked_for_off_the_loop(alone, field):
    """Where an arm is watched rows are told apart, so that the refusal can name it."""
    stage = staged(share=0.0001)
    model = Recorded(stage.served.live.signature)
    requests = [[0.5], [0.5, -1.0], *([[0.5]] * 30)]
    found = answered(stage, model, requests, alone=alone)
    assert isinstance(found[1], RequestProblem)
    assert (422, "model_refuses", field) == (found[1].status, found[1].code, found[1].field)
    assert 31 == sum(not isinstance(one, Exception) for one in found)
    assert 1 == sum(here for here, _ in model.calls)


def test_models_that_are_not_compiled_are_asked_in_a_thread_and_for_all_who_came_meanwhile():
    stage = staged()
    model = Recorded(stage.served.live.signature, form="frame", said=lambda: time.sleep(0.02))
    found = answered(stage, model, [[0.5]] * 40, batch_rows=20)
    assert not any(isinstance(one, Exception) for one in found)
    assert ([False], 2) == (sorted({here for here, _ in model.calls}), len(model.calls))


def test_others_come_in_between_two_calls_of_a_model():
    stage = staged()
    events = []

    def said():
        events.append("model")
        asyncio.get_running_loop().call_soon(events.append, "other")

    answered(stage, Recorded(stage.served.live.signature, said=said), [[0.5] * 10, [0.5] * 10], batch_rows=10)
    assert ["model", "other", "model", "other"] == events


class Kept:
    """A log that keeps what shadows say in memory."""

    def __init__(self):
        self.rows = {}

    def put_shadows(self, model, said):
        self.rows |= said


@pytest.mark.parametrize(("bad", "kept"), [(1, 299), (300, 0)])
def test_a_bad_row_leaves_a_hole_in_shadow_data_of_one_row(bad, kept):
    stage = staged()
    log, metrics = Kept(), ServiceMetrics()
    arm = stage.served.live.arms["v8"]
    model = Recorded(stage.served.live.signature)
    object.__setattr__(arm.members[0][0], "model", model)

    async def scenario():
        shadows = Shadows("tested", writer=log, metrics=metrics, pool=Here())
        asked = stage.asked([-1.0] * bad + [0.5] * (300 - bad))
        for place, name in enumerate(asked.ids):
            shadows._add(arm, concat([asked.batch]).take([place]), name)
        shadows._start()
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(scenario())
    assert kept == len(log.rows)
    counted = f'evergreen_shadow_rows_total{{model="tested",outcome="failed",version="8"}} {bad}.0'
    assert counted in metrics.text().decode()
    assert len(model.calls) <= 1 + 2 * 256 + 1


def test_a_large_body_is_decoded_in_a_thread(monkeypatch):
    threads = []

    def decode(body, **options):
        threads.append((len(body), threading.current_thread() is threading.main_thread()))
        return SimpleNamespace(ids=None, n=1)

    monkeypatch.setattr(endpoint_module, "decode", decode)

    async def scenario():
        model = SimpleNamespace(
            served=SimpleNamespace(live=SimpleNamespace(signature=None), name="tested"),
            limits=None,
            loop=asyncio.get_running_loop(),
            times=SimpleNamespace(of=lambda batch: [0.0]),
            timeout=1.0,
            metrics=ServiceMetrics(),
        )
        endpoint = endpoint_module.Predict(model, answer=None, name="predict")
        for size in (100, 100_000):
            await endpoint._pending(b" " * size, None)

    asyncio.run(scenario())
    assert [(100, True), (100_000, False)] == threads
