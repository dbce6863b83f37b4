"""The file of keys is written whole, one writer at a time, and read again only when it has changed."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest

from evergreen.tasks.core.errors import ConfigError, InputError
from evergreen.tasks.io import serving_keys as serving_secret
from evergreen.tasks.io.serving_keys import WatchedKeys, create_key, private_key, read_keys, revoke_key
from evergreen.tasks.io.settings import read_settings

NOW = datetime(2026, 11, 26, tzinfo=UTC)


def test_a_key_is_found_by_its_secret_until_it_expires_or_is_revoked(tmp_path):
    path = tmp_path / "keys.json"
    secret = create_key(path, "web", at=NOW, expires=NOW + timedelta(days=1)).encode()
    keys = WatchedKeys(path)
    assert "web" == keys.ring.find(secret, now=NOW.timestamp())
    assert keys.ring.find(secret, now=NOW.timestamp() + 86400) is None
    assert keys.ring.find(secret + b"x", now=NOW.timestamp()) is None
    revoke_key(path, "web")
    assert keys.refresh()
    assert keys.ring.find(secret, now=NOW.timestamp()) is None


def test_a_file_that_is_as_it_was_is_not_read_again(tmp_path):
    path = tmp_path / "keys.json"
    create_key(path, "web", at=NOW)
    keys = WatchedKeys(path)
    assert not keys.refresh()
    create_key(path, "batch", at=NOW)
    assert (True, False) == (keys.refresh(), keys.refresh())
    assert ["web", "batch"] == [key.name for key in keys.ring.keys]


def test_once_guarded_a_service_stays_guarded(tmp_path):
    path = tmp_path / "keys.json"
    keys = WatchedKeys(path)
    assert not keys.guarded
    create_key(path, "web", at=NOW)
    keys.refresh()
    path.unlink()
    keys.refresh()
    assert keys.guarded
    assert () == keys.ring.keys


def test_a_file_that_breaks_leaves_the_keys_as_they_were(tmp_path):
    path = tmp_path / "keys.json"
    secret = create_key(path, "web", at=NOW).encode()
    keys = WatchedKeys(path)
    path.write_text("[]")
    with pytest.raises(ConfigError, match="cannot be read"):
        keys.refresh()
    assert "web" == keys.ring.find(secret, now=0.0)


@pytest.mark.parametrize("digest", ["zz" * 32, "ab" * 31, "", "ü" * 64, None, 7, ["ab" * 32]])
def test_a_digest_that_is_none_is_told_by_file_and_key_and_the_keys_stay(tmp_path, digest):
    path = tmp_path / "keys.json"
    secret = create_key(path, "web", at=NOW).encode()
    keys = WatchedKeys(path)
    good = path.read_text()
    path.write_text(json.dumps({"keys": [{"name": "batch", "digest": digest, "created": NOW.isoformat()}]}))
    for _ in range(2):  # as long as the file is wrong
        with pytest.raises(
            ConfigError, match=r"keys\.json' cannot be used: the digest of key 'batch' is no SHA-256"
        ):
            keys.refresh()
    assert "web" == keys.ring.find(secret, now=0.0)
    with pytest.raises(ConfigError, match="'batch'"):
        WatchedKeys(path)
    revoke_key(path, "batch")  # as the message says
    assert keys.refresh()
    path.write_text(good)
    assert keys.refresh()
    assert "web" == keys.ring.find(secret, now=0.0)


@pytest.mark.parametrize(
    "keys", ["abc", ["abc"], [[]], [{}], [None], {"a": 1}, [{"name": "a", "digest": "b", "created": 3}]]
)
def test_a_file_of_other_shape_is_told_and_not_raised_as_it_is(tmp_path, keys):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": keys}))
    with pytest.raises(ConfigError, match=r"keys\.json' cannot be read"):
        WatchedKeys(path)


def test_many_writers_lose_no_key(tmp_path):
    path = tmp_path / "keys.json"
    threads = [
        threading.Thread(target=create_key, args=(path, f"k{n}"), kwargs={"at": NOW}) for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {f"k{n}" for n in range(16)} == {key.name for key in read_keys(path)}


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "web"])
def test_a_name_that_is_none_or_taken_is_refused(tmp_path, name):
    path = tmp_path / "keys.json"
    create_key(path, "web", at=NOW)
    with pytest.raises(InputError):
        create_key(path, name, at=NOW)


def test_the_private_key_is_made_once_and_may_be_told(tmp_path, monkeypatch):
    settings = read_settings({"EVERGREEN_HOME": str(tmp_path / "home")})
    first = private_key(settings)
    assert (first, 32) == (private_key(settings), len(first))
    assert 0o600 == (tmp_path / "home" / "private.key").stat().st_mode & 0o777
    monkeypatch.setenv("EVERGREEN_PRIVATE_KEY", "ab" * 32)
    assert bytes.fromhex("ab" * 32) == private_key(settings)
    monkeypatch.setenv("EVERGREEN_PRIVATE_KEY", "ab")
    with pytest.raises(ConfigError, match="EVERGREEN_PRIVATE_KEY"):
        private_key(settings)


def test_of_two_who_make_the_private_key_at_once_both_have_the_first_ones(tmp_path, monkeypatch):
    settings = read_settings({"EVERGREEN_HOME": str(tmp_path / "home")})
    make, others = serving_secret.secrets.token_bytes, []

    def make_as_another_does(count):
        if not others:
            others.append(None)
            others[0] = private_key(settings)
        return make(count)

    monkeypatch.setattr(serving_secret.secrets, "token_bytes", make_as_another_does)
    assert [private_key(settings)] == others
    assert ["private.key"] == [path.name for path in (tmp_path / "home").iterdir()]
