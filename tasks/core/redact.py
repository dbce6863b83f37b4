"""Addresses as they may be shown: without user, password or signature."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"://[^/@\s]+@")
_QUERY = re.compile(r"\?\S*$")


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
