"""The HTTP server and its end."""

from __future__ import annotations

import asyncio
import socket

import uvicorn

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
