"""The secret that private values are hashed with: named by the environment, or kept in the home folder."""

from __future__ import annotations

import os
import secrets

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
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _parsed(path.read_text(encoding="ascii").strip())
    with os.fdopen(handle, "w", encoding="ascii") as file:
        key = secrets.token_bytes(_BYTES)
        file.write(key.hex())
    return key


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
