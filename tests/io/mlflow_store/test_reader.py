"""One contract for what reads and writes MLflow's registry without its client: the same acts, the same registry."""

import http.server
import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from evergreen.deployments.servers import answers, free_port
from evergreen.tasks.core.errors import ConfigError, UnknownName, Unreachable
from evergreen.tasks.io.mlflow_store.reader import RestReader, SqlReader, open_reader
from evergreen.tasks.io.mlflow_store.registry import MlflowRegistry, Registry, RestWriter, SqlWriter
from tests.support.servers import running, wait_for

FRAUD, QUOTED = "fraud", "bob's \u00e9claires"


@pytest.fixture
def sqlite_uri(mlflow_uri):
    return mlflow_uri


@pytest.fixture
def server_uri(mlflow_uri, tmp_path):
    """Address of a tracking server on a store of its own."""
    port = free_port(5700)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", mlflow_uri, "--workers", "1"]
    environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with running(command, log=tmp_path / "mlflow.log", environ=environ, cwd=tmp_path):
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(f"{url}/health"), seconds=120, what="The MLflow server")
        yield url


STORES = [
    "sqlite_uri",
    pytest.param("server_uri", marks=pytest.mark.server),
    pytest.param("postgres_url", marks=pytest.mark.slow),
]


@pytest.fixture(params=STORES)
def uri(request):
    return request.getfixturevalue(request.param)


def as_client(uri, name):
    """Return aliases and versions of a model, as MLflow's own client tells them."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    try:
        aliases = {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        aliases = {}
    quote = '"' if "'" in name else "'"
    versions = [
        (
            one.name,
            int(one.version),
            one.run_id or None,
            one.source,
            dict(one.tags),
            datetime.fromtimestamp(one.creation_timestamp / 1000, UTC),
        )
        for one in client.search_model_versions(f"name = {quote}{name}{quote}")
    ]
    return aliases, sorted(versions, key=lambda one: one[1])


def as_reader(reader, name):
    versions = [
        (one.model, one.version, one.run_id, one.source, one.tags, one.created_at)
        for one in reader.versions(name)
    ]
    return reader.aliases(name), versions


def acts(client):
    """Yield what happens to a registry, act by act; before the first of them it is empty."""
    yield "nothing"
    client.create_registered_model(FRAUD, tags={"team": "risk"})
    yield "a model"
    client.create_model_version(FRAUD, "s3://models/one", tags={"validation_status": "approved", "to": "é 1"})
    client.create_model_version(FRAUD, "s3://models/two", run_id="0" * 32)
    yield "versions"
    client.create_registered_model(QUOTED)
    client.create_model_version(QUOTED, "s3://models/three", tags={"empty": ""})
    client.set_registered_model_alias(QUOTED, "champion", "1")
    yield "another model"
    client.set_registered_model_alias(FRAUD, "champion", "1")
    client.set_registered_model_alias(FRAUD, "challenger", "2")
    yield "aliases"
    client.set_registered_model_alias(FRAUD, "champion", "2")
    client.delete_registered_model_alias(FRAUD, "challenger")
    yield "aliases moved"
    client.set_model_version_tag(FRAUD, "1", "to", "later")
    client.delete_model_version_tag(FRAUD, "1", "validation_status")
    yield "tags changed"
    client.delete_model_version(FRAUD, "1")
    yield "a version deleted"
    client.delete_registered_model(QUOTED)
    yield "a model deleted"


def test_a_reader_says_after_every_act_what_the_client_says(uri):
    from mlflow import MlflowClient

    client, reader = MlflowClient(tracking_uri=uri, registry_uri=uri), open_reader(uri, {})
    seen = 0
    for act in acts(client):
        for name in (FRAUD, QUOTED, "nobody"):
            assert as_client(uri, name) == as_reader(reader, name), (act, name)
        seen += 1
    assert 9 == seen
    assert [2] == [one.version for one in reader.versions(FRAUD)]


WRITES = [
    ("set_alias", "champion", 1),
    ("set_alias", "challenger", 2),
    ("set_alias", "champion", 2),
    ("set_alias", "champion", 2),
    ("set_alias", "fallback", 9),
    ("set_alias", "challenger", 3),
    ("delete_alias", "challenger"),
    ("delete_alias", "candidate"),
    ("set_tags", 1, {"evergreen.archived": "true", "validation_status": "approved"}),
    ("set_tags", 1, {"evergreen.archived": "", "evergreen.said": "é \"quoted\" 'x' %s :name {here}"}),
    ("set_tags", 2, {}),
    ("set_tags", 9, {"evergreen.archived": "true"}),
    ("set_tags", 3, {"evergreen.archived": "true"}),
]
"""Acts on a model with versions 1 and 2, and a third that was deleted."""


def outcome(registry, name, act):
    """Do it; return how it was refused, if it was."""
    method, *arguments = act
    try:
        getattr(registry, method)(name, *arguments)
    except UnknownName as error:
        return str(error).replace(name, "MODEL")
    return None


def test_what_is_written_without_the_client_is_what_the_client_writes(uri):
    client, registry = Registry(uri), MlflowRegistry(uri)
    assert isinstance(registry._store, (RestWriter, SqlWriter))
    for name in (FRAUD, QUOTED):
        for source in "abc":
            client.register(name, source=f"s3://models/{source}", run_id=None)
        client._client.delete_model_version(name, "3")
    refusals = []
    for act in WRITES:
        refusals.append(outcome(registry, FRAUD, act))
        assert outcome(client, QUOTED, act) == refusals[-1], act
        (aliases, versions), (expected, theirs) = as_client(uri, FRAUD), as_client(uri, QUOTED)
        assert expected == aliases, act
        assert [one[1:5] for one in theirs] == [one[1:5] for one in versions], act
    assert [4, 5, 11, 12] == [number for number, refused in enumerate(refusals) if refused]
    assert ({"champion": 2}, []) == (registry.aliases(FRAUD), registry.versions("nobody"))


@pytest.mark.parametrize("store", ["sqlite_uri", pytest.param("postgres_url", marks=pytest.mark.slow)])
def test_writers_at_one_time_lose_nothing_of_each_other(store, request):
    """A server of MLflow's is left out: two at once who set a new tag collide in it, whoever asks."""
    uri = request.getfixturevalue(store)
    Registry(uri).register(FRAUD, source="s3://models/one", run_id=None)
    Registry(uri).register(FRAUD, source="s3://models/two", run_id=None)
    begin = threading.Barrier(8)

    def write(number):
        registry, letter = MlflowRegistry(uri), "abcdefgh"[number]
        begin.wait()
        for version in (1, 2, 1, 2):
            registry.set_alias(FRAUD, "champion", version)
            registry.set_tags(FRAUD, version, {"evergreen.shared": letter, f"evergreen.{letter}": letter})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    aliases, versions = as_client(uri, FRAUD)
    assert {"champion": 2} == aliases
    for version in versions:
        tags = dict(version[4])
        assert tags.pop("evergreen.shared") in "abcdefgh"
        assert {f"evergreen.{letter}": letter for letter in "abcdefgh"} == tags


@pytest.mark.parametrize("touched", [False, True])
def test_nothing_is_written_to_a_database_without_mlflows_tables(tmp_path, touched):
    path = tmp_path / "mlflow.db"
    if touched:
        path.touch()
    registry = MlflowRegistry(f"sqlite:///{path}")
    with pytest.raises(UnknownName, match=r"version 1 of model 'fraud'\. Registered: none"):
        registry.set_alias(FRAUD, "champion", 1)
    with pytest.raises(UnknownName, match=r"version 1 of model 'fraud'\. Registered: none"):
        registry.set_tags(FRAUD, 1, {"evergreen.archived": "true"})
    registry.delete_alias(FRAUD, "champion")
    assert touched == path.exists()
    assert not touched or path.stat().st_size == 0


def test_a_file_that_is_no_database_is_not_written_to(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\x00" + b"nonsense" * 500)
    with pytest.raises(Unreachable, match="does not answer"):
        MlflowRegistry(f"sqlite:///{tmp_path / 'mlflow.db'}").set_alias(FRAUD, "champion", 1)


def test_a_missing_version_is_named_with_those_there_are(mlflow_uri):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=mlflow_uri, registry_uri=mlflow_uri)
    client.create_registered_model(FRAUD)
    client.create_model_version(FRAUD, "s3://models/one")
    with pytest.raises(UnknownName, match=r"version 7 of model 'fraud'\. Registered: 1"):
        SqlReader(mlflow_uri).version(FRAUD, 7)


def test_a_database_that_is_not_there_has_no_models_and_is_not_made(tmp_path):
    reader = SqlReader(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert ({}, []) == (reader.aliases(FRAUD), reader.versions(FRAUD))
    assert [] == list(tmp_path.iterdir())


def test_a_database_without_mlflows_tables_has_no_models(tmp_path):
    (tmp_path / "mlflow.db").touch()
    reader = SqlReader(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert ({}, []) == (reader.aliases(FRAUD), reader.versions(FRAUD))


def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\x00" + b"nonsense" * 500)
    with pytest.raises(Unreachable, match="does not answer"):
        SqlReader(f"sqlite:///{tmp_path / 'mlflow.db'}").aliases(FRAUD)


# A tracking server that answers what a test wants.


class Scripted(http.server.BaseHTTPRequestHandler):
    """Gives the answers of ``script`` one after the other, and keeps what was asked."""

    script: list
    asked: list

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked.append((self.path, dict(self.headers), self.command, json.loads(body or "{}")))
        status, body = self.script.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_DELETE = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def scripted():
    """What to answer, what was asked, and the address of the server that does."""
    kind = type("ScriptedHere", (Scripted,), {"script": [], "asked": []})
    server = http.server.HTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield kind, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


NO_MODEL = (404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}))
MODEL = (200, json.dumps({"registered_model": {"aliases": [{"alias": "champion", "version": "3"}]}}))


def test_a_server_that_answers_at_the_second_time_is_heard(scripted):
    kind, url = scripted
    kind.script += [(503, ""), MODEL]
    assert {"champion": 3} == RestReader(url, {}).aliases(FRAUD)


def test_a_server_that_never_answers_is_unreachable_after_as_many_retries_as_mlflow_is_told(scripted):
    kind, url = scripted
    kind.script += [(503, "")] * 9
    with pytest.raises(Unreachable, match="HTTP 503"):
        RestReader(url, {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}).aliases(FRAUD)
    assert 2 == len(kind.asked)


def test_a_refusal_is_said_at_once_in_the_servers_words(scripted):
    kind, url = scripted
    kind.script += [(403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "not yours"}))]
    with pytest.raises(Unreachable, match="not yours"):
        RestReader(url, {}).aliases(FRAUD)
    assert 1 == len(kind.asked)


def test_an_alias_is_moved_again_where_the_server_did_not_answer(scripted):
    kind, url = scripted
    kind.script += [(503, ""), (200, "{}"), (200, "{}")]
    RestWriter(url, {}).set_alias(FRAUD, "champion", 3)
    RestWriter(url, {}).delete_alias(FRAUD, "champion")
    moved = ("POST", {"name": FRAUD, "alias": "champion", "version": "3"})
    assert [moved, moved, ("DELETE", {"name": FRAUD, "alias": "champion"})] == [one[2:] for one in kind.asked]


def test_an_alias_that_may_not_be_moved_is_refused_in_the_servers_words(scripted):
    kind, url = scripted
    kind.script += [(403, json.dumps({"error_code": "PERMISSION_DENIED", "message": "not yours"}))]
    with pytest.raises(Unreachable, match="not yours"):
        RestWriter(url, {}).set_alias(FRAUD, "champion", 3)
    assert 1 == len(kind.asked)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_TOKEN": "abc"}, "Bearer abc"),
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "pw"}, "Basic YW5uOnB3"),
    ],
)
def test_credentials_are_shown_as_mlflow_shows_them(scripted, environ, expected):
    kind, url = scripted
    kind.script += [NO_MODEL]
    assert {} == RestReader(url, environ).aliases(FRAUD)
    assert expected == kind.asked[0][1].get("Authorization")


def test_all_pages_of_versions_are_read(scripted):
    kind, url = scripted

    def version(number):
        return {"name": FRAUD, "version": str(number), "source": "s", "creation_timestamp": 0}

    pages = [{"model_versions": [version(2)], "next_page_token": "more"}, {"model_versions": [version(1)]}]
    kind.script += [(200, json.dumps(page)) for page in pages]
    assert [1, 2] == [one.version for one in RestReader(url, {}).versions(FRAUD)]
    assert "page_token=more" in kind.asked[1][0]


@pytest.mark.parametrize(
    ("uri", "environ"),
    [
        ("databricks", {}),
        ("mysql+pymysql://user@host/db", {}),
        ("sqlite:///:memory:", {}),
        ("http://127.0.0.1:9", {"MLFLOW_TRACKING_AUTH": "plugin"}),
        ("http://127.0.0.1:9", {"MLFLOW_WORKSPACE": "team"}),
    ],
)
def test_what_only_mlflows_client_can_read_is_left_to_it(uri, environ):
    assert open_reader(uri, environ) is None


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "[1]", "3"])
def test_what_is_no_registry_is_named_with_its_address(scripted, body):
    kind, url = scripted
    kind.script += [(200, body)]
    with pytest.raises(
        Unreachable, match=r"registered-models/get was answered by no JSON .* MLFLOW_TRACKING_URI"
    ):
        RestReader(url, {}).aliases(FRAUD)


@pytest.mark.parametrize("text", ["abc", "inf", "nan", "-1"])
@pytest.mark.parametrize("name", ["MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
def test_a_variable_that_is_no_number_is_named(name, text):
    with pytest.raises(ConfigError, match=f"{name} is '{text}'. Allowed: a number"):
        RestReader("http://127.0.0.1:9", {name: text}).aliases(FRAUD)
