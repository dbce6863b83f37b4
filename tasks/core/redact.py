"""Addresses as they may be shown: without user, password or signature."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

_USERINFO = re.compile(r"://[^/@\s]+@")
_QUERY = re.compile(r"\?\S*$")
_PLACE = re.compile(
    r"""\b[a-z][\w+.-]*:/+[^\s'",;)]+ | (?<![\w./])~?(?:/[^\s/'",;:)]+)+/? | \b[a-z]:\\[^\s'",;)]+
    | \b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b""",
    re.IGNORECASE | re.VERBOSE,
)


def without_credentials(text: str) -> str:
    """Return a text whose addresses name neither user nor password.

    >>> without_credentials("no answer from http://ada:secret@host/api?x=1")
    'no answer from http://host/api?x=1'
    """
    return _USERINFO.sub("://", text)


def redacted(address: str) -> str:
    """Return an address without credentials; a plain path is left as it is.

    >>> redacted("postgresql://ada:secret@db/cards?sslkey=x")
    'postgresql://db/cards'
    >>> redacted("data/cards.csv")
    'data/cards.csv'
    """
    if "://" not in address:
        return address
    return _QUERY.sub("", _USERINFO.sub("://", address))


def without_places(text: str) -> str:
    """Return a text that names neither address nor path: for clients of a service who do not operate it.

    >>> without_places("Version 3 at file:///srv/mlruns/3 lacks '/srv/x.json' (10.0.0.7:5432); and/or train anew.")
    "Version 3 at … lacks '…' (…); and/or train anew."
    """
    return _PLACE.sub("…", text)


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return a text in which nothing secret is left, as it is written or as it stands in an address.

    Parts of less than six characters are left: hiding them would hide ordinary words.

    >>> without_secrets("403 for url http://host/hook?token=s3cr3t%2F1", ["s3cr3t/1", "ok"])
    '403 for url http://host/hook?token=***'
    """
    for secret in sorted({secret for secret in secrets if len(secret) >= 6}, key=len, reverse=True):
        text = text.replace(secret, "***").replace(quote(secret, safe=""), "***")
    return text
