"""The service as people start it: it drains on SIGTERM, speaks TLS, and fails early where something is wrong."""

import asyncio
import ssl
import subprocess
import time

import httpx
import pytest

from evergreen.deployments.cli.app import run
from tests.support.serving import PREDICT, ROW, Load, logged, model_of, started


@pytest.fixture
def model(monitored):
    return model_of(monitored)


@pytest.fixture
def pair(tmp_path):
    """Files of a certificate and its key."""
    files = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-out",
            files[0],
            "-keyout",
            files[1],
        ],
        check=True,
        capture_output=True,
    )
    return [str(file) for file in files]


@pytest.mark.slow
def test_tls_is_by_two_files_and_nothing_that_was_answered_is_lost_at_the_end(model, tmp_path, pair):
    trust = ssl.create_default_context(cafile=pair[0])
    with started(model, tmp_path, "--tls-cert", pair[0], "--tls-key", pair[1], verify=trust) as served:
        assert served.url.startswith("https://127.0.0.1:")
        answer = httpx.post(f"{served.url}{PREDICT}", json={"records": [ROW]}, verify=trust)
        assert 200 == answer.status_code
        with pytest.raises(httpx.TransportError):
            httpx.get(served.url.replace("https", "http"))
        told, load = asyncio.run(end_under_load(served))
        code = served.process.returncode
    acknowledged = [name for _, _, name, status, _ in load.answers if status == 200]
    assert 0 == code
    assert {200} == {status for _, _, _, status, _ in load.answers}
    # who was let in was answered; one that was under way to the door as it closed was not let in
    assert {"ConnectError"} >= {kind for _, kind in load.failures}
    assert [] == [sent for sent, _ in load.failures if sent < told - 1.0]
    assert 20 < len(acknowledged)
    names = ids_in_log(model)
    assert len(names) == len(set(names))
    assert set(acknowledged) <= set(names)
    assert len(acknowledged) <= len(logged(model))


@pytest.mark.slow
def test_whoever_was_let_in_is_answered_at_the_end(model, tmp_path):
    with started(model, tmp_path) as served:
        _, load = asyncio.run(end_under_load(served))
    assert {200} == {status for _, _, _, status, _ in load.answers}
    assert {"ConnectError"} >= {kind for _, kind in load.failures}


async def end_under_load(served):
    """Tell a service to end while clients ask it; return when that was, and what they heard."""
    async with Load(served.url, clients=8) as load:
        while load.answered() < 8 or len(load.answers) < 100:
            await asyncio.sleep(0.05)
        told = time.time()
        served.end()
        await asyncio.to_thread(served.process.wait, 60)
    return told, load


def ids_in_log(model):
    from sqlalchemy import create_engine, text

    with create_engine(str(model.stores.log.url)).connect() as connection:
        return list(connection.execute(text("select prediction_id from predictions")).scalars())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "nobody"),
        (["tested", "tested"], "named twice"),
        (["tested", "--host", "0.0.0.0"], "there are no API keys"),
        (["tested", "--host", "203.0.113.7", "--insecure"], "Cannot listen on 203.0.113.7"),
        (["tested", "--tls-cert", "cert.pem"], "TLS needs both"),
        ([], "Missing argument"),
    ],
)
def test_what_cannot_be_served_is_said_before_anything_starts(model, monkeypatch, capsys, words, said):
    monkeypatch.setenv("EVERGREEN_CONFIG", str(model.base))
    assert 2 == run(["serve", *words])
    assert said in capsys.readouterr().err
