"""Token buckets: a steady rate in the long run, a burst at once."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from evergreen.tasks.core.errors import InputError, unknown_name
from evergreen.tasks.core.serial import Struct

_MOST = 10_000


@dataclass
class Buckets:
    """One bucket a name; a name that was never seen has a full one.

    Parameters
    ----------
    rate : float
        Tokens a second that flow in, > 0.
    burst : int
        Tokens a full bucket holds, >= 1.

    Examples
    --------
    >>> buckets = Buckets(rate=2.0, burst=1)
    >>> buckets.take("web", now=0.0), buckets.take("web", now=0.0), buckets.take("web", now=0.5)
    (0.0, 0.5, 0.0)
    """

    rate: float
    burst: int
    _filled: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)

    def take(self, name: str, *, now: float) -> float:
        """Take a token; return 0, or the seconds after which there is one again (then none was taken)."""
        tokens, since = self._filled.get(name, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + max(now - since, 0.0) * self.rate)
        if tokens < 1.0:
            self._filled[name] = (tokens, now)
            return (1.0 - tokens) / self.rate
        if name not in self._filled and len(self._filled) >= _MOST:
            self._forget_full(now)
        self._filled[name] = (tokens - 1.0, now)
        return 0.0

    def _forget_full(self, now: float) -> None:
        """Forget buckets that have filled up again, so that many names do not fill the memory."""
        self._filled = {
            name: (tokens, since)
            for name, (tokens, since) in self._filled.items()
            if tokens + (now - since) * self.rate < self.burst
        }


# API keys: kept as digests, found in constant time, several at once so that they can be rotated.


PREFIX = "evg_"
"""What every key begins with, so that scanners for leaked secrets know one."""


@dataclass(frozen=True, kw_only=True)
class ApiKey(Struct):
    """One key as it is kept: its secret cannot be read back."""

    name: str
    """What people call it; shown in metrics and logs."""
    digest: str
    """SHA-256 of the secret, in hex. A secret has 256 random bits, so that guessing it from a digest is hopeless
    and a slow hash would gain nothing."""
    created: datetime
    """Aware."""
    expires: datetime | None = None
    """From when on it is refused; None: never."""


@dataclass(frozen=True)
class KeyRing:
    """All keys, ready to be asked.

    Raises
    ------
    InputError
        When a key cannot be one, by its name.

    Examples
    --------
    >>> from datetime import UTC
    >>> key = ApiKey(name="web", digest=digest_of(b"evg_1"), created=datetime(2026, 1, 1, tzinfo=UTC))
    >>> KeyRing((key,)).find(b"evg_1", now=0.0), KeyRing((key,)).find(b"evg_2", now=0.0)
    ('web', None)
    """

    keys: tuple[ApiKey, ...] = ()
    _known: tuple[tuple[bytes, str, float], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", tuple(map(_known, self.keys)))

    def find(self, secret: bytes, *, now: float) -> str | None:
        """Return the name of the key with this secret; None when there is none, or it has expired.

        Every key is compared, each in constant time: how long it takes tells nothing.
        """
        digest = hashlib.sha256(secret).digest()
        found = None
        for known, name, expires in self._known:
            if hmac.compare_digest(known, digest) and now < expires:
                found = name
        return found


def _known(key: ApiKey) -> tuple[bytes, str, float]:
    try:
        digest = bytes.fromhex(key.digest)
        expires = key.expires.timestamp() if key.expires else math.inf
    except (ValueError, TypeError, OverflowError):
        digest = b""
    if len(digest) != hashlib.sha256().digest_size:
        raise InputError(
            f"the digest of key {key.name!r} is no SHA-256 of 64 hexadecimal digits, or its expiry no time. Revoke the "
            f"key ('evergreen key revoke {key.name}') and create another one."
        )
    return digest, key.name, expires


def digest_of(secret: bytes) -> str:
    """Return the digest a secret is kept as."""
    return hashlib.sha256(secret).hexdigest()


def add_key(keys: Sequence[ApiKey], key: ApiKey) -> tuple[ApiKey, ...]:
    """Return the keys with another one.

    Raises
    ------
    InputError
        When the name is taken, or is no name.
    """
    if not key.name or len(key.name) > 64 or not all(sign.isalnum() or sign in "-_." for sign in key.name):
        raise InputError(
            f"'{key.name}' is no name of a key. Allowed: up to 64 letters, digits, '-', '_' and '.'. Choose another."
        )
    if any(known.name == key.name for known in keys):
        raise InputError(
            f"There is a key '{key.name}' already. Names are used once: create the next one under another name, "
            "give it to the client, then revoke this one."
        )
    return (*keys, key)


def remove_key(keys: Sequence[ApiKey], name: str) -> tuple[ApiKey, ...]:
    """Return the keys without one.

    Raises
    ------
    UnknownName
        When there is no key of that name.
    """
    names = [key.name for key in keys]
    if name not in names:
        raise unknown_name("key", name, names)
    return tuple(key for key in keys if key.name != name)
