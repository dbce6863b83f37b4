"""A model with trained versions on a real MLflow store, served for tests."""

import asyncio
import contextlib
import json

import httpx

from deployments.service.app import make_app
from deployments.service.service import Service
from tests.support.monitored import Watched, crown, make_rows

ROW = {"x": 0.4, "z": -1.0, "colour": "red"}


def rows(count, *, seed=5):
    """Return rows as clients send them."""
    frame = make_rows(hours=-(-count // 40), seed=seed).head(count)
    return frame[["x", "z", "colour"]].to_dict("records")


@contextlib.asynccontextmanager
async def serving(*setups, ready=True):
    """Serve models by ASGI alone; yield an HTTP client whose ``service`` is the service."""
    app = make_app(Service(setups))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            client.service = app.service
            if ready:
                await until_ready(client)
            yield client


async def until_ready(client, *, seconds=30.0):
    """Wait until ``/ready`` says so."""
    async with asyncio.timeout(seconds):
        while (await client.get("/ready")).status_code != 200:
            await asyncio.sleep(0.02)


async def until(condition, *, seconds=20.0):
    """Wait until something is true."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


def served(scenario, *setups, **options):
    """Run a coroutine function against a service of these models; return what it returns."""

    async def run():
        async with serving(*setups, **options) as client:
            return await scenario(client)

    return asyncio.run(run())


def body_of(answer):
    """Return an answer's JSON."""
    return json.loads(answer.content)


__all__ = ["ROW", "Watched", "body_of", "crown", "rows", "served", "serving", "until", "until_ready"]
