"""Keys are created once, kept as digests, taken and refused without a restart; without any a service stays at home."""

import asyncio
import json

import pytest

from evergreen.deployments.cli.app import run
from evergreen.deployments.service.run import check_address
from evergreen.tasks.core.errors import InputError
from evergreen.tasks.io.serving_keys import keys_path
from tests.support.serving import ROW, error_of, model_of, predict, serve, until


@pytest.fixture
def model(monitored):
    return model_of(monitored)


@pytest.fixture
def key(capsys):
    """Run `evergreen key …` and return what it says as JSON."""

    def command(*words):
        assert 0 == run(["key", *words, "--json"])
        return json.loads(capsys.readouterr().out)

    return command


def bearer(secret):
    return {"Authorization": f"Bearer {secret}"}


def test_without_a_key_only_signs_of_life_are_given(model, key):
    key("create", "web")

    async def scenario(client):
        paths = ("/health", "/ping", "/version", "/ready", "/metrics", "/models", "/models/tested")
        given = {path: (await client.get(path)).status_code for path in paths}
        return given, await predict(client, ROW), await predict(client, ROW, headers=bearer("evg_wrong"))

    given, none, wrong = serve(scenario, model)
    assert [200] * 4 + [401] * 3 == list(given.values())
    assert ((401, "no_key", None), (401, "unknown_key", None)) == (error_of(none), error_of(wrong))
    assert "Bearer" == none.headers["www-authenticate"]


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_lets_in_by_either_header(model, key, header):
    secret = key("create", "web")["secret"]
    value = f"Bearer {secret}" if header == "Authorization" else secret

    async def scenario(client):
        return await predict(client, ROW, headers={header: value}), await client.get(
            "/metrics", headers={header: value}
        )

    assert [200, 200] == [answer.status_code for answer in serve(scenario, model)]


def test_keys_are_rotated_while_the_service_runs(model, key):
    old = key("create", "web-1")["secret"]

    async def scenario(client):
        new = (await asyncio.to_thread(key, "create", "web-2"))["secret"]
        await until(
            lambda: predict(client, ROW, headers=bearer(new)), lambda a: a.status_code == 200, seconds=10
        )
        both = (await predict(client, ROW, headers=bearer(old))).status_code
        await asyncio.to_thread(key, "revoke", "web-1")
        await until(
            lambda: predict(client, ROW, headers=bearer(old)), lambda a: a.status_code == 401, seconds=10
        )
        await asyncio.to_thread(key, "revoke", "web-2")
        last = await until(
            lambda: predict(client, ROW, headers=bearer(new)), lambda a: a.status_code == 401, seconds=10
        )
        return both, error_of(last)

    assert (200, (401, "unknown_key", None)) == serve(scenario, model)


def test_a_file_that_breaks_is_told_and_followed_again_once_it_is_whole(model, key, caplog):
    secrets = [key("create", name)["secret"] for name in ("web", "batch")]
    path = keys_path(model.settings)
    good = json.loads(path.read_text())["keys"]

    async def scenario(client):
        path.write_text(json.dumps({"keys": [{**good[0], "digest": "no hex"}]}))
        async with asyncio.timeout(10):
            while "The keys stay as they were" not in caplog.text:
                await asyncio.sleep(0.02)
        meanwhile = [(await predict(client, ROW, headers=bearer(one))).status_code for one in secrets]
        path.write_text(json.dumps({"keys": good[1:]}))
        revoked = await until(
            lambda: predict(client, ROW, headers=bearer(secrets[0])),
            lambda a: a.status_code == 401,
            seconds=10,
        )
        return (
            meanwhile,
            error_of(revoked),
            (await predict(client, ROW, headers=bearer(secrets[1]))).status_code,
        )

    assert ([200, 200], (401, "unknown_key", None), 200) == serve(scenario, model)
    assert "the digest of key 'web' is no SHA-256" in caplog.text


def test_a_key_that_has_expired_is_refused(model, key):
    secret = key("create", "web", "--expires", "1s")["secret"]

    async def scenario(client):
        await asyncio.sleep(1.1)
        return await predict(client, ROW, headers=bearer(secret))

    assert (401, "unknown_key", None) == error_of(serve(scenario, model))
    assert [True] == [one["expired"] for one in key("list")["keys"]]


def test_a_request_in_flight_while_keys_are_rotated_is_still_one_prediction(model, key):
    old, new = (key("create", name)["secret"] for name in ("web-1", "web-2"))

    async def scenario(client):
        asked = [{**bearer(secret), "Idempotency-Key": "4f1c"} for secret in (old, new)]
        first, again = [await predict(client, ROW, headers=headers) for headers in asked]
        return first.json(), again.json(), error_of(await predict(client, {**ROW, "x": 1}, headers=asked[1]))

    first, again, other = serve(scenario, model)
    assert first == again
    assert (409, "id_taken", "ids") == other


def test_a_secret_is_kept_nowhere_and_only_the_owner_reads_the_file(model, key):
    secret = key("create", "web")["secret"]
    path = keys_path(model.settings)
    assert secret not in path.read_text()
    assert 0o600 == path.stat().st_mode & 0o777
    assert secret.startswith("evg_")
    assert 47 == len(secret)


@pytest.mark.parametrize(
    "words", [["create", "web"], ["create", "a b"], ["create", ""], ["revoke", "nobody"]]
)
def test_wrong_commands_about_keys_exit_with_two(model, key, words):
    key("create", "web")
    assert 2 == run(["key", *words])
    assert ["web"] == [one["name"] for one in key("list")["keys"]]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_without_keys_the_service_listens_on_this_machine_alone(host):
    with pytest.raises(InputError, match=r"as there are no API keys\. Create one"):
        check_address(host, guarded=False)
    check_address(host, guarded=True)
    check_address(host, insecure=True, guarded=False)
    check_address("127.0.0.1", guarded=False)


def test_half_of_tls_is_refused(tmp_path):
    with pytest.raises(InputError, match="TLS needs both"):
        check_address("127.0.0.1", tls_cert=tmp_path / "cert.pem", guarded=True)
    with pytest.raises(InputError, match="There is no file"):
        check_address("127.0.0.1", tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem", guarded=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "cannot be read"),
        ('{"keys": [{"name": "web", "digest": "no hex", "created": "2026-01-01"}]}', "digest of key 'web'"),
    ],
)
def test_a_file_that_is_no_file_of_keys_starts_no_service(model, text, said):
    path = keys_path(model.settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        serve(lambda client: None, model)
