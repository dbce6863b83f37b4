"""A model with trained versions, served in this process or in one of its own, and clients that ask it."""

import asyncio
import contextlib
import signal
import subprocess
import sys
import time

import httpx

from evergreen.deployments.service.app import make_app
from evergreen.deployments.service.service import Service
from evergreen.tasks.core.data.clock import Window
from evergreen.tasks.io.mlflow_store.model_files import fetch_model
from evergreen.tasks.io.mlflow_store.models import load_model
from evergreen.tasks.io.mlflow_store.tracking import open_tracker
from tests.support.champions import make_rows
from tests.support.servers import ROOT

ROW = {"x": 0.4, "z": -1.0, "colour": "red"}
PREDICT, OUTCOMES = "/models/tested/predict", "/models/tested/outcomes"
QUICK = {"poll": "0.1s"}


def rows(count, *, seed=5):
    """Return rows as clients send them."""
    frame = make_rows(hours=-(-count // 40), seed=seed).head(count)
    return frame[["x", "z", "colour"]].to_dict("records")


def model_of(monitored, **sections):
    """Return the watched model (two versions, the first is champion), configured to be looked after quickly."""
    serving = {**QUICK, **sections.pop("serving", {})}
    return monitored.setup(make_rows(hours=150), serving=serving, **sections)


@contextlib.asynccontextmanager
async def serving(*setups, ready=True, client=("127.0.0.1", 1234), **options):
    """Serve models by ASGI alone; yield an HTTP client whose ``service`` is the service, with its options.

    Alarms are sent by no process that would outlive the test.
    """
    app = make_app(Service(setups, **{"deliver": lambda setup: None, **options}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=client)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as asking:
            asking.service = app.service
            if ready:
                await until_ready(asking)
            yield asking


async def until_ready(client):
    """Wait until ``/ready`` says so."""
    await until(lambda: client.get("/ready"), lambda answer: answer.status_code == 200)


async def until(ask, good, *, seconds=60.0):
    """Ask until the answer is good; return it."""
    async with asyncio.timeout(seconds):
        while not good(answer := await ask()):
            await asyncio.sleep(0.02)
    return answer


def serve(scenario, *setups, **options):
    """Run a coroutine function against a service of these models; return what it returns."""

    async def run():
        async with serving(*setups, **options) as client:
            return await scenario(client)

    return asyncio.run(run())


async def predict(client, *records, path=PREDICT, headers=None, **beside):
    """Ask for predictions; return the answer."""
    return await client.post(path, json={"records": list(records), **beside}, headers=headers or {})


async def predicted(client, *records, **options):
    """Ask for predictions that must be answered; return them."""
    answer = await predict(client, *records, **options)
    assert 200 == answer.status_code, answer.text
    return answer.json()["predictions"]


async def facts(client, model="tested"):
    """Return what the service says of a model."""
    return (await client.get(f"/models/{model}")).json()


def error_of(answer):
    """Return status, code and field of a refusal."""
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["field"]


def logged(setup):
    """Return the frame of all that was logged, in clock order."""
    return setup.stores.log.read_predictions(setup.model, Window()).rows.frame


def own_scores(setup, version, records):
    """Return what a version's estimator itself says: P(positive) of each row."""
    import pandas as pd

    from evergreen.tasks.core.training.features import answer, feature_frame

    loaded = load_model(setup, version)
    features = feature_frame(pd.DataFrame(records), loaded.schema)
    return answer(loaded.estimator, features, problem=setup.config.problem.value, classes=loaded.classes)


class Away:
    """A registry that does not answer."""

    def __getattr__(self, name):
        def ask(*_):
            raise ConnectionError("connection to db.internal (10.0.0.7) refused, see /srv/mlflow/store.sock")

        return ask


def register_stranger(setup, folder):
    """Register a version without Evergreen's documents; return it."""
    local = fetch_model(f"models:/{setup.model}/2", folder / "stranger", tracker=open_tracker(setup.stores))
    return setup.stores.registry.register(setup.model, source=str(local), run_id=None).version


class Served:
    """A running service: its address, the address it printed, and its process."""

    def __init__(self, process, printed, log):
        self.process, self.printed, self._log = process, printed, log
        self.url = printed.partition("/models/")[0]

    def said(self):
        """Return what it wrote on stderr."""
        return self._log.read_text()

    def end(self, signal_number=signal.SIGTERM):
        self.process.send_signal(signal_number)

    def ready(self, client):
        try:
            return client.get(f"{self.url}/ready").status_code == 200
        except httpx.TransportError:
            return False


@contextlib.contextmanager
def running_service(command, log, *, cwd=ROOT, environ=None, verify=True):
    """Start a command that serves a model, wait until it is ready, and end it."""
    with log.open("ab") as err:
        options = {"stdout": subprocess.PIPE, "stderr": err, "cwd": cwd, "env": environ, "text": True}
        process = subprocess.Popen(command, **options)
    try:
        served = Served(process, process.stdout.readline().strip(), log)
        assert served.url, log.read_text()
        with httpx.Client(verify=verify) as client:
            deadline = time.monotonic() + 240
            while not served.ready(client):
                assert process.poll() is None, served.said()
                assert time.monotonic() < deadline, served.said()
                time.sleep(0.1)
        yield served
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=60)
        process.stdout.close()


def started(setup, folder, *options, verify=True, program="evergreen.deployments.cli"):
    """Start a service of one model, wait until it is ready, and end it."""
    command = [sys.executable, "-m", program, "serve", str(setup.path), "--port", "0", *options]
    return running_service(command, folder / "serve.log", verify=verify)


class Load:
    """Clients that ask one after the other until they are told to stop; what they saw, and when."""

    def __init__(self, url, *, clients):
        self._url, self._many = url, clients
        self.answers, self.failures = [], []
        self._stop = asyncio.Event()

    async def __aenter__(self):
        # each has a connection of its own: a shared pool opens new ones now and then
        self._clients = [
            httpx.AsyncClient(base_url=self._url, timeout=30, verify=False) for _ in range(self._many)
        ]
        self._tasks = [
            asyncio.create_task(self._ask(number, client)) for number, client in enumerate(self._clients)
        ]
        return self

    async def __aexit__(self, *_):
        self._stop.set()
        await asyncio.gather(*self._tasks)
        for client in self._clients:
            await client.aclose()

    def answered(self):
        """Return how many clients have had an answer: they are connected, and stay so."""
        return len({name.partition("-")[0] for _, _, name, _, _ in self.answers})

    async def _ask(self, number, client):
        count = 0
        while not self._stop.is_set():
            name, count = f"c{number}-{count}", count + 1
            sent = time.time()
            try:
                answer = await client.post(PREDICT, json={"records": [ROW], "ids": [name]})
            except httpx.TransportError as error:
                self.failures.append((sent, type(error).__name__))
                continue
            version = answer.json()["predictions"][0]["version"] if answer.status_code == 200 else None
            self.answers.append((sent, time.time(), name, answer.status_code, version))
