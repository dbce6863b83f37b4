"""Run a service: its socket, its server, its end."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from evergreen.deployments.service.app import make_app
from evergreen.deployments.service.service import Service
from evergreen.tasks.core.errors import EvergreenError, InputError

# The HTTP server and its end.


LAST_ROUND_S = 0.25
"""How long connections stay open for what was sent on them before its end was known to the client."""


class Server(uvicorn.Server):
    """A server that answers what was on its way when it was told to end.

    uvicorn closes connections that are idle at that moment, also those on which a request lies unread. This one closes
    its door, then goes on reading for a moment and says ``Connection: close`` in every answer, so that clients that
    ask without a pause have left by themselves when the connections are closed.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, answer for a moment what comes on the others, then end as uvicorn does."""
        for listening in self.servers:
            listening.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await asyncio.sleep(LAST_ROUND_S)
        await super().shutdown(sockets)


logger = logging.getLogger(__name__)

_SWITCH_S = 0.001
"""How long a thread may hold the interpreter while others wait: the loop waits for the log's writer no longer."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a service listens.

    Attributes
    ----------
    host : str
        Address or name.
    port : int
        0: any free one.
    tls_cert, tls_key : Path | None
        PEM files; both or none.
    insecure : bool
        Listen beyond this machine without keys.
    drain : int
        Seconds that requests in flight may take after SIGTERM.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: bool = False
    drain: int = 30

    @property
    def scheme(self) -> str:
        """``http`` or ``https``."""
        return "https" if self.tls_cert else "http"


def check_place(place: Place, *, guarded: bool) -> None:
    """Check that a service may listen there.

    Raises
    ------
    InputError
        Without keys beyond this machine, or with half of what TLS needs.
    """
    if (place.tls_cert is None) != (place.tls_key is None):
        raise InputError("TLS needs both --tls-cert and --tls-key; give both PEM files, or neither.")
    for file in (place.tls_cert, place.tls_key):
        if file is not None and not file.is_file():
            raise InputError(
                f"There is no file '{file}'. Name the PEM file of the certificate and that of its key."
            )
    if not guarded and not is_loopback(place.host) and not place.insecure:
        raise InputError(
            f"The service would listen on '{place.host}' for everybody, for there are no API keys. Create one "
            "('evergreen key create NAME'), listen on 127.0.0.1, or say --insecure."
        )


def is_loopback(host: str) -> bool:
    """Return True for an address that only this machine can reach.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "example.org")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(place: Place) -> socket.socket:
    """Return the socket a service listens on.

    Raises
    ------
    InputError
        When the address is taken or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place.host, place.port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"Cannot listen on {place.host}:{place.port} ({error.strerror or error}). Choose another --host or --port."
        ) from error
    return listener


def run_service(service: Service, place: Place, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT: then no new connection is taken, and those in flight are answered.

    Raises
    ------
    EvergreenError
        When it could not start.
    """
    sys.setswitchinterval(_SWITCH_S)
    for number in (signal.SIGTERM, signal.SIGINT):  # the server raises the signal again once it has drained
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        make_app(service),
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=place.drain,
        ssl_certfile=place.tls_cert,
        ssl_keyfile=place.tls_key,
    )
    server = Server(config)
    server.run(sockets=[listener])
    if not server.started:
        raise EvergreenError("The service did not start; its log above says why.")


def log_to_stderr() -> None:
    """Let the service's own lines, and the server's troubles, appear on stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (
        ("evergreen.deployments.service", logging.INFO),
        ("uvicorn", logging.WARNING),
        ("tasks", logging.INFO),
    ):
        named = logging.getLogger(name)
        named.setLevel(level)
        named.addHandler(handler)
        named.propagate = False
