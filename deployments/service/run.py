"""Run a service: its socket, its server, its shutdown."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from evergreen.deployments.service.app import make_app
from evergreen.deployments.service.service import Service
from evergreen.tasks.core.errors import EvergreenError, InputError

LAST_ROUND_S = 0.25
"""How long connections stay open for what was sent on them before its end was known to the client."""


class Server(uvicorn.Server):
    """A server that answers the requests that were on their way when it was told to stop.

    uvicorn closes connections that are idle at that moment, also those on which a request lies unread. This one takes
    no new connection, but goes on reading for a moment and sends ``Connection: close`` with every answer, so that
    clients that ask without a pause have left by themselves when the connections are closed.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no new connection, answer for a moment what comes on the others, then end as uvicorn does."""
        for listening in self.servers:
            listening.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await asyncio.sleep(LAST_ROUND_S)
        await super().shutdown(sockets)


_SWITCH_S = 0.001
"""How long a thread may hold the interpreter while others wait: the loop waits for the log's writer no longer."""


def check_address(
    host: str,
    *,
    guarded: bool,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    insecure: bool = False,
) -> None:
    """Check that a service may listen there.

    Parameters
    ----------
    host : str
        Address or name.
    guarded : bool
        Whether there are API keys.
    tls_cert, tls_key : Path or None
        PEM files; both or none.
    insecure : bool
        Accept other machines without keys.

    Raises
    ------
    InputError
        Where it would accept other machines without keys, or TLS has a certificate without a key.
    """
    if (tls_cert is None) != (tls_key is None):
        raise InputError("TLS needs both --tls-cert and --tls-key; give both PEM files, or neither.")
    for file in (tls_cert, tls_key):
        if file is not None and not file.is_file():
            raise InputError(
                f"There is no file '{file}'. Name the certificate's PEM file and that of its key."
            )
    if not guarded and not is_loopback(host) and not insecure:
        raise InputError(
            f"The service would answer everybody who reaches '{host}', as there are no API keys. Create one "
            "('evergreen key create NAME'), listen on 127.0.0.1, or add --insecure."
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


def bind(host: str, port: int) -> socket.socket:
    """Return the socket a service listens on.

    Raises
    ------
    InputError
        When the address is in use or is none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"Cannot listen on {host}:{port} ({error.strerror or error}). Choose another --host or --port."
        ) from error
    return listener


def run_service(
    service: Service, listener: socket.socket, *, tls_cert: Path | None, tls_key: Path | None, drain: int
) -> None:
    """Serve until SIGTERM or SIGINT: then no new connection is taken, and those in flight are answered.

    Parameters
    ----------
    service : Service
        What to serve.
    listener : socket
        Bound to the service's address.
    tls_cert, tls_key : Path or None
        PEM files; both or none.
    drain : int
        Seconds that requests in flight may take after the signal.

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
        timeout_graceful_shutdown=drain,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
    )
    server = Server(config)
    server.run(sockets=[listener])
    if not server.started:
        raise EvergreenError("The service did not start; the lines above say why.")


def log_to_stderr() -> None:
    """Log the service's own lines, and the server's warnings, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    own = ("evergreen.deployments.service", "evergreen.tasks")
    levels = {**dict.fromkeys(own, logging.INFO), "uvicorn": logging.WARNING}
    for name, level in levels.items():
        named = logging.getLogger(name)
        named.setLevel(level)
        named.addHandler(handler)
        named.propagate = False
