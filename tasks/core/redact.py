"""Addresses as they may be shown: without user, password or signature."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"://[^/@\s]+@")
_QUERY = re.compile(r"\?\S*$")


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
