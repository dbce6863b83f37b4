"""Send a message to an Apprise URL (Slack, e-mail, Teams, a webhook, …) and say why it did not arrive."""

from __future__ import annotations

import logging
from urllib.parse import parse_qsl, unquote, urlsplit

from tasks.core.alerts.alert import AlertLevel
from tasks.core.errors import ConfigError, Unreachable
from tasks.core.redact import without_credentials, without_secrets

_PLAIN = {"http", "https", "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"}
"""Schemes whose host is a host; elsewhere (``slack://TOKEN/…``) it may be a secret."""
_TYPES = {
    AlertLevel.INFO: "success",
    AlertLevel.WARNING: "warning",
    AlertLevel.DRIFT: "warning",
    AlertLevel.CRITICAL: "failure",
}


def send_by_apprise(url: str, *, title: str, text: str, level: AlertLevel) -> None:
    """Send one message to an Apprise URL and wait until it is accepted.

    Raises
    ------
    ConfigError
        When the URL is none that Apprise knows; it is not repeated, since it may hold a token.
    Unreachable
        When the receiver did not take it, with the reason, without credentials.
    """
    from apprise import Apprise, AppriseAsset, LogCapture

    service = Apprise(asset=AppriseAsset(app_id="Evergreen", app_desc="Evergreen", app_url=""))
    with LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
        if not service.add(url):
            scheme = urlsplit(url).scheme or "none"
            raise ConfigError(
                f"An alert's address of scheme '{without_secrets(scheme, secrets_of(url))}' is none that Apprise "
                "knows. Allowed: an Apprise URL such as slack://…, mailto://…, msteams://…, json://…. Correct the "
                "variable or block that holds it."
            )
        arrived = service.notify(body=text, title=title, notify_type=_TYPES[level], body_format="text")
        said = log.getvalue()
    if not arrived:
        raise Unreachable(reason_without_secrets(said or "The receiver did not take it.", secrets_of(url)))


def reason_without_secrets(said: str, secrets: set[str]) -> str:
    """Return why something failed as one short line without credentials."""
    lines = [line.strip().rstrip(".,") for line in said.splitlines() if line.strip()]
    text = without_credentials(without_secrets("; ".join(dict.fromkeys(lines)), secrets))
    return text[:500] or "The receiver did not take it"


def secrets_of(url: str) -> set[str]:
    """Return what of an address may be secret: user, password, path, query, and unknown schemes' host."""
    parts = urlsplit(url)
    found = {parts.path, *parts.path.split("/"), parts.query, *(value for _, value in parse_qsl(parts.query))}
    userinfo, _, host = parts.netloc.rpartition("@")
    found |= {userinfo, *userinfo.split(":")}
    if parts.scheme not in _PLAIN:
        found |= {url, host}
    return found | set(map(unquote, found))
