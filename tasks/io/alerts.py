"""Send a message to an Apprise URL (Slack, e-mail, Teams, a webhook, …) and say why it did not arrive."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from evergreen.tasks.core.alerts.alert import HEALTH, STREAM, TOPICS, Alert, AlertLevel, Cursor, cursor
from evergreen.tasks.core.drift.types import Phase
from evergreen.tasks.core.errors import ConfigError, Unreachable
from evergreen.tasks.core.health.checks import HealthReport, health_alert
from evergreen.tasks.core.promotion.ledger import LedgerEntry
from evergreen.tasks.core.redact import without_credentials, without_secrets
from evergreen.tasks.io.ledger import Ledger, claim_next
from evergreen.tasks.io.settings import utc_now
from evergreen.tasks.io.setup import Setup

_PLAIN = {"http", "https", "json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"}
"""Schemes whose URLs name a host; elsewhere (``slack://TOKEN/…``) it may be a secret."""
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
        When the receiver did not accept it, with the reason, without credentials.
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
        output = log.getvalue()
    if not arrived:
        raise Unreachable(
            reason_without_secrets(output or "The receiver did not accept it.", secrets_of(url))
        )


def reason_without_secrets(output: str, secrets: set[str]) -> str:
    """Return why something failed as one short line without credentials."""
    lines = [line.strip().rstrip(".,") for line in output.splitlines() if line.strip()]
    text = without_credentials(without_secrets("; ".join(dict.fromkeys(lines)), secrets))
    return text[:500] or "The receiver did not accept it"


def secrets_of(url: str) -> set[str]:
    """Return what of an address may be secret: user, password, path, query, and unknown schemes' host."""
    parts = urlsplit(url)
    secrets = {
        parts.path,
        *parts.path.split("/"),
        parts.query,
        *(value for _, value in parse_qsl(parts.query)),
    }
    userinfo, _, host = parts.netloc.rpartition("@")
    secrets |= {userinfo, *userinfo.split(":")}
    if parts.scheme not in _PLAIN:
        secrets |= {url, host}
    return secrets | set(map(unquote, secrets))


# Read alerts and their deliveries from the ledger: no more of a stream than it takes.


_TAIL, _DELIVERIES, _WINDOWS = 50, 200, 120


def read_alerts(ledger: Ledger, model: str, topic: str, *, after: int) -> list[Alert]:
    """Return a topic's alerts that are to be sent, those numbered above ``after``, oldest first.

    Reads no more of the stream than it takes: most runs read one entry.
    """
    count = 1
    while True:
        entries = ledger.read_tail(model, TOPICS[topic], count)
        alerts = [Alert.from_dict(e.payload["alert"]) for e in entries if e.payload.get("alert")]
        if len(entries) < count or (alerts and alerts[0].number <= after):
            return [alert for alert in alerts if alert.speaks and alert.number > after]
        count *= _TAIL


def read_cursor(ledger: Ledger, model: str, channel: str, topic: str) -> Cursor:
    """Return which alerts of a topic a channel has received, reading as few entries as possible."""
    entries = ledger.read_tail(model, STREAM, _DELIVERIES)
    latest = cursor(entries, channel, topic)
    if latest.number or len(entries) < _DELIVERIES:
        return latest
    return cursor(ledger.read(model=model, stream=STREAM), channel, topic)


def open_alarms(ledger: Ledger, model: str) -> list[dict[str, Any]]:
    """Return the open alarms by topic, as the ledger has them."""
    newest = [ledger.last(model, stream) for stream in TOPICS.values()]
    alerts = [
        Alert.from_dict(entry.payload["alert"]) for entry in newest if entry and entry.payload.get("alert")
    ]
    return [plain for alert in alerts for plain in alert.to_dict()["open"]]


def last_run(ledger: Ledger, model: str, *, before: datetime) -> datetime | None:
    """Return when monitoring last left an entry before a moment: a window, or its decision; None: never."""
    read = ledger.read_tail
    entries = [e for phase in Phase for e in read(model, f"windows-{phase.value}", _WINDOWS)]
    entries += [e for e in read(model, "decisions", _WINDOWS) if e.kind == "monitor"]
    return max((entry.at for entry in entries if entry.at < before), default=None)


# Keep each change of health in the ledger; whoever checks something appends here.


def has_news(setup: Setup, report: HealthReport, *, version: int | None) -> bool:
    """Return whether a check failed, got worse or recovered since the newest entry of the stream ``health``."""
    last = setup.stores.ledger.last(setup.model, HEALTH)
    return _next_alert(setup, report, last, version=version)[1].speaks


def _next_alert(
    setup: Setup, report: HealthReport, last: LedgerEntry | None, *, version: int | None
) -> tuple[Alert | None, Alert]:
    """Return the alert of the newest entry, and the one of a report after it."""
    before = Alert.from_dict(last.payload["alert"]) if last else None
    config = setup.config.alerts
    return before, health_alert(
        report, before, model=setup.model, version=version, now=utc_now(), config=config
    )


def record_health(setup: Setup, report: HealthReport, *, version: int | None) -> Alert:
    """Append to the stream ``health`` when a check failed, got worse or recovered; return the newest alert."""

    def judge(last: LedgerEntry | None) -> tuple[Alert | None, Alert]:
        return _next_alert(setup, report, last, version=version)

    def write(alerts: tuple[Alert | None, Alert]) -> tuple[str, dict[str, Any]] | None:
        payload = {**report.to_dict(), "version": version, "alert": alerts[1].to_dict()}
        return ("changed", payload) if alerts[1].speaks else None

    (before, alert), entry = claim_next(setup.stores.ledger, setup.model, HEALTH, judge, write, at=utc_now())
    return alert if entry else before or alert
