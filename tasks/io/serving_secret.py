"""The secret that private values are hashed with: named by the environment, or kept in the home folder."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from tasks.core.errors import ConfigError
from tasks.io.settings import Settings

VARIABLE = "EVERGREEN_PRIVATE_KEY"
_BYTES = 32


def private_key(settings: Settings) -> bytes:
    """Return the key; made at first use. Services that share a log must share it by ``EVERGREEN_PRIVATE_KEY``.

    Raises
    ------
    ConfigError
        When the variable holds no 16 to 64 bytes in hex.
    """
    told = os.environ.get(VARIABLE)
    if told is not None:
        return _parsed(told)
    path = settings.home / "private.key"
    if not path.exists():
        _make(path)
    return _parsed(path.read_text(encoding="ascii").strip())


def _make(path: Path) -> None:
    """Make a key that is there whole or not at all; of many who make one at once, the first one's is everybody's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_bytes(_BYTES).hex())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)


def _parsed(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if not 16 <= len(key) <= 64:
        raise ConfigError(
            f"{VARIABLE} (or private.key in the home folder) is no key. Allowed: 16 to 64 random bytes in hex, such as "
            "'openssl rand -hex 32' prints."
        )
    return key
