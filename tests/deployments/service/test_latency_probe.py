"""Times are compared on the same rows, whoever begins, and not all the time."""

import asyncio

import numpy as np
import pytest

from evergreen.deployments.service.batching import predict_isolated
from evergreen.deployments.service.canary import LatencyProbe, compare_latency
from tests.support.canaries import Here, Stage, Version


def staged(canary):
    champion = Version(call=0.0, row=1e-3, spread=0.0)
    return Stage(champion, canary, steps=[0.5], rng=np.random.default_rng(1))


@pytest.mark.parametrize("first", [True, False])
def test_a_duel_tells_the_arms_time_and_the_champions_for_the_same_rows(first):
    stage = staged(Version(call=0.0, row=3e-3, spread=0.0))
    arms, rows = stage.served.live.arms, stage.asked([0.5] * 10).batch
    assert (0.03, 0.01) == pytest.approx(
        compare_latency(arms["v8"], arms["champion"], rows, first, stage.seconds)
    )
    assert ([10, 10], [10, 10]) == (stage.asked_rows(7), stage.asked_rows(8))


def test_rows_that_an_arm_fails_on_are_not_compared():
    stage = staged(Version(refuses=1.0))
    arms = stage.served.live.arms
    assert (
        compare_latency(arms["v8"], arms["champion"], stage.asked([0.5]).batch, True, stage.seconds) is None
    )


def test_after_a_duel_there_is_none_for_twenty_times_as_long():
    stage = staged(Version(call=0.0, row=1e-3, spread=0.0))

    async def scenario():
        duels = LatencyProbe(stage.canary, pool=Here(), clock=stage.seconds)
        await stage.canary._check()
        group = [stage.asked([0.5] * 40)]
        _, routed = predict_isolated(group)
        fought = []
        for _ in range(3):
            duels.offer(stage.served.live, [group[0].batch], routed)
            while duels.running:
                await asyncio.sleep(0)
            fought.append(stage.canary._controller.counts.figures()[1].probes)
            stage.clock.now += 15 * 4 * 1e-3 * sum(one.index for one in routed)
        return fought

    assert [1, 1, 2] == asyncio.run(scenario())
