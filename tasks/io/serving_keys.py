"""The file of API keys: written whole, read again when it changes."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from evergreen.tasks.core.errors import ConfigError, InputError
from evergreen.tasks.core.serving.access import PREFIX, ApiKey, KeyRing, add_key, digest_of, remove_key
from evergreen.tasks.io.files import folder_lock, write_file
from evergreen.tasks.io.settings import Settings

KEYS_VARIABLE = "EVERGREEN_KEYS"


def keys_path(settings: Settings) -> Path:
    """Return the file of keys: ``EVERGREEN_KEYS``, by default ``serving-keys.json`` in the home folder."""
    return Path(os.environ.get(KEYS_VARIABLE) or settings.home / "serving-keys.json").absolute()


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Return the keys of a file; none when there is no file.

    Raises
    ------
    ConfigError
        When it is no file of keys.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return tuple(map(ApiKey.from_dict, plain["keys"]))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"The file of keys '{path}' cannot be read ({type(error).__name__}). It holds what 'evergreen key create' "
            "writes; restore it, or remove it and create the keys anew."
        ) from error


def read_ring(path: Path) -> KeyRing:
    """Return the keys of a file.

    Raises
    ------
    ConfigError
        When it is no file of keys, or one of them cannot be a key.
    """
    keys = read_keys(path)
    try:
        return KeyRing(keys)
    except InputError as error:
        raise ConfigError(f"The file of keys '{path}' cannot be used: {error}") from error


def create_key(path: Path, name: str, *, at: datetime, expires: datetime | None = None) -> str:
    """Add a key to the file and return its secret, which is stored nowhere.

    Raises
    ------
    InputError
        When the name is taken or is no name.
    """
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey(name=name, digest=digest_of(secret.encode()), created=at, expires=expires)
    _change(path, lambda keys: add_key(keys, key))
    return secret


def revoke_key(path: Path, name: str) -> None:
    """Remove a key from the file; running services refuse it within a second.

    Raises
    ------
    UnknownName
        When there is no key of that name.
    """
    _change(path, lambda keys: remove_key(keys, name))


class WatchedKeys:
    """The keys of a file as it is now; `refresh` reads it again when it has changed.

    A service that has had keys stays guarded: without any key left every request is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = _mark(path)
        self.ring = read_ring(path)
        self.guarded = bool(self.ring.keys)

    def refresh(self) -> bool:
        """Read the file again if it has changed; return True when it was read.

        Raises
        ------
        ConfigError
            When it cannot be read or used; the keys stay as they were.
        """
        mark = _mark(self.path)
        if mark == self._mark:
            return False
        self.ring = read_ring(self.path)
        self.guarded = self.guarded or bool(self.ring.keys)
        self._mark = mark
        return True


def _change(path: Path, change: Callable[[tuple[ApiKey, ...]], Sequence[ApiKey]]) -> None:
    """Replace the keys, one writer at a time: a reader sees the old keys or the new ones; only the owner may read."""
    with folder_lock(path.parent, f".{path.name}.lock"):
        keys = [key.to_dict() for key in change(read_keys(path))]
        write_file(path, json.dumps({"keys": keys}, indent=2), mode=0o600)


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


# The secret that private values are hashed with: named by the environment, or stored in the home folder.


PRIVATE_KEY_VARIABLE = "EVERGREEN_PRIVATE_KEY"
_BYTES = 32


def private_key(settings: Settings) -> bytes:
    """Return the key; made at first use. Services that share a log must share it by ``EVERGREEN_PRIVATE_KEY``.

    Raises
    ------
    ConfigError
        When the variable holds no 16 to 64 bytes in hex.
    """
    text = os.environ.get(PRIVATE_KEY_VARIABLE)
    if text is not None:
        return _parsed(text)
    path = settings.home / "private.key"
    if not path.exists():
        _make(path)
    return _parsed(path.read_text(encoding="ascii").strip())


def _make(path: Path) -> None:
    """Make a key that is stored whole or not at all; of several processes at once the first one's key holds for all."""
    draft = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        write_file(draft, secrets.token_bytes(_BYTES).hex(), mode=0o600)
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _parsed(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if not 16 <= len(key) <= 64:
        raise ConfigError(
            f"{PRIVATE_KEY_VARIABLE} (or private.key in the home folder) is no key. Allowed: 16 to 64 random bytes "
            "in hex, such as 'openssl rand -hex 32' prints."
        )
    return key
