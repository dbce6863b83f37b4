"""The demo's end: its champion is served, until somebody asks for the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from rich.console import Console

PAYMENT = {
    "amount": 12.9, "hour": 23, "merchant": "digital", "channel": "online", "card_age_days": 40,
    "payments_last_hour": 2, "distance_km": 3.5, "new_device": 1, "country_risk": 0.2,
}  # fmt: skip
"""A payment to ask about: small, late, for digital goods, from a new device."""
_START_S = 120.0


def serve_until_asked(console: Console, home: Path) -> None:
    """Start the prediction service, ask it once, show how to ask it, and end it at Enter, Ctrl-C or without a terminal.

    Raises
    ------
    SystemExit
        When it does not start; its own words are in ``service.log``.
    """
    environment = {name: value for name, value in os.environ.items() if name != "EVERGREEN_NOW"}
    command = [sys.executable, "-m", "deployments.cli", "serve", "payments", "--port", "0"]
    with (home / "service.log").open("w", encoding="utf-8") as said:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment)
    try:
        with console.status("The service loads the champion ..."):
            url = _ready(service)
        body = json.dumps({"records": [PAYMENT]})
        console.print(f"Served at:   {url}", highlight=False, soft_wrap=True)
        console.print(
            f"Ask it:      curl -s {url} -H 'Content-Type: application/json' -d '{body}'",
            highlight=False, soft_wrap=True, markup=False,
        )  # fmt: skip
        console.print(f"It answers:  {ask(url, body)}", highlight=False, soft_wrap=True, markup=False)
        if sys.stdin.isatty():
            _wait_for_enter(console)
    finally:
        service.terminate()
        service.communicate()
    console.print("The service has ended.")


def ask(url: str, body: str) -> str:
    """Return what the service answers to a body."""
    request = Request(url, data=body.encode(), headers={"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        return str(answer.read().decode()).strip()


def _ready(service: subprocess.Popen[str]) -> str:
    """Wait for the service, and return the address that predicts."""
    url = service.stdout.readline().strip() if service.stdout else ""
    end = time.monotonic() + _START_S
    while url and time.monotonic() < end and service.poll() is None:
        try:
            with urlopen(f"{url.split('/models/')[0]}/ready", timeout=5):
                return url
        except URLError:
            time.sleep(0.2)
    raise SystemExit("The service did not start; see .evergreen-demo/service.log.")


def _wait_for_enter(console: Console) -> None:
    try:
        console.input("Press Enter to end the service. ")
    except (KeyboardInterrupt, EOFError):
        console.print()
