"""200 moves of @champion under load, 50 of them 6 s apart: no request fails, and no answer is older than 5 s."""

import asyncio
import time

import pytest

from tests.support.monitored import crown
from tests.support.served import Load, started
from tests.support.serving import model_of

MOVES, SLOW, APART_S, WITHIN_S = 200, 50, 6.2, 5.0

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]


def test_aliases_are_followed_under_load(watched, tmp_path):
    model = model_of(watched, serving={"poll": "1s"})
    reigns = [(0.0, 1)]

    async def move(version):
        await asyncio.to_thread(crown, model, version)
        reigns.append((time.time(), version))

    async def scenario(url):
        async with Load(url, clients=8) as load:
            for number in range(MOVES):
                await move(2 - number % 2)
                await asyncio.sleep(APART_S if number % 4 == 3 else 0.05)
        return load

    with started(model, tmp_path) as served:
        load = asyncio.run(scenario(served.url))
        said = served.said()
    assert [] == load.failures
    assert {200} == {status for _, _, _, status, _ in load.answers}
    stale = [one for one in load.answers if not was_champion(reigns, one)]
    assert [] == stale[:5]
    slow = [at for at, _ in reigns[1:]]
    apart = [
        (at, version)
        for (at, version), after in zip(reigns[1:], [*slow[1:], time.time()], strict=True)
        if after - at >= 6
    ]
    unseen = [
        (at, version)
        for at, version in apart
        if not any(at <= sent <= at + WITHIN_S and found == version for sent, _, _, _, found in load.answers)
    ]
    assert SLOW <= len(apart)
    assert [] == unseen
    assert "Traceback" not in said
    print(f"{len(load.answers)} answers, {MOVES} moves, {len(apart)} at least 6 s apart, all seen")


def was_champion(reigns, answer):
    """Return whether the version that answered was champion at some moment of the 5 s before its answer."""
    sent, came, _, _, version = answer
    ends = [at for at, _ in reigns[1:]] + [float("inf")]
    return any(
        which == version and begin <= came and end >= sent - WITHIN_S
        for (begin, which), end in zip(reigns, ends, strict=True)
    )
