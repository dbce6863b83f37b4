"""200 moves of @champion under load, 50 of them 6 s apart: no request fails, and no answer is older than 5 s."""

import asyncio
import time

import pytest

from tests.support.champions import set_champion
from tests.support.serving import Load, model_of, started

MOVES, SLOW, APART_S, WITHIN_S = 200, 50, 6.2, 5.0

pytestmark = [pytest.mark.proof, pytest.mark.timeout(1800)]


def test_aliases_are_followed_under_load(monitored, tmp_path):
    model = model_of(monitored, serving={"poll": "1s"})
    reigns = [(0.0, 0.0, 1)]

    async def move(version):
        asked = time.time()
        await asyncio.to_thread(set_champion, model, version)
        reigns.append((asked, time.time(), version))

    async def scenario(url):
        async with Load(url, clients=8) as load:
            for number in range(MOVES):
                await move(2 - number % 2)
                await asyncio.sleep(APART_S if number % 4 == 3 else 0.05)
        return load

    with started(model, tmp_path) as served:
        load = asyncio.run(scenario(served.url))
        said = served.said()
    lags = [lag(reigns, answer) for answer in load.answers]
    apart = moves_apart(reigns)
    print(
        f"{len(lags)} answers, {MOVES} moves, {len(apart)} at least 6 s apart; the oldest answer: {max(lags):.2f} s"
    )
    assert [] == load.failures
    assert {200} == {status for _, _, _, status, _ in load.answers}
    assert WITHIN_S >= max(lags)
    assert SLOW <= len(apart)
    assert [] == [(at, version) for at, version in apart if not seen(load.answers, at, version)]
    assert "Traceback" not in said


def lag(reigns, answer):
    """Return how long before a request was sent its answer's version was champion last; 0 while it was since."""
    sent, came, _, _, version = answer
    ends = [*(done for _, done, _ in reigns[1:]), float("inf")]
    last = [
        end for (begun, _, which), end in zip(reigns, ends, strict=True) if which == version and begun <= came
    ]
    return max(0.0, sent - max(last)) if last else float("inf")


def moves_apart(reigns):
    """Return moment and version of the moves that stood for 6 s or more."""
    ends = [*(asked for asked, _, _ in reigns[2:]), time.time()]
    return [
        (done, version) for (_, done, version), end in zip(reigns[1:], ends, strict=True) if end - done >= 6.0
    ]


def seen(answers, at, version):
    """Return whether a version answered within 5 s after it became champion."""
    return any(at <= sent <= at + WITHIN_S and found == version for sent, _, _, _, found in answers)
