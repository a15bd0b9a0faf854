"""HTTP/1.1 as a load generator needs it: keep-alive, one request at a time on a connection, next to no work of its own.

A full client takes as long for a request as the service does, and would measure itself.
"""

import asyncio
import json
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes

    def json(self) -> dict[str, object]:
        """The body, read."""
        read: dict[str, object] = json.loads(self.body)
        return read


class Connection(asyncio.Protocol):
    """One connection to a service."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._reply: asyncio.Future[Reply] | None = None
        self._transport: asyncio.Transport | None = None
        self.open = True

    @classmethod
    async def to(cls, url: str) -> "Connection":
        """A new connection."""
        place = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(cls, place.hostname or "", place.port or 80)
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """By asyncio."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    async def ask(self, request: bytes) -> Reply:
        """Send a request and wait for its answer.

        Raises:
            ConnectionError: The other side hung up.
        """
        assert self._transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._reply

    def data_received(self, data: bytes) -> None:
        """By asyncio."""
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0 or self._reply is None:
            return
        head = bytes(self._received[:head_end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        whole = head_end + 4 + length
        if len(self._received) < whole:
            return
        if b"connection: close" in head:
            self.open = False
        reply = Reply(int(head[9:12]), bytes(self._received[head_end + 4 : whole]))
        del self._received[:whole]
        if not self._reply.done():
            self._reply.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        """By asyncio."""
        self.open = False
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionError("the service hung up"))

    def close(self) -> None:
        """Hang up."""
        self.open = False
        if self._transport is not None:
            self._transport.close()


def post(path: str, body: object) -> bytes:
    """A request, as it goes over the wire."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
