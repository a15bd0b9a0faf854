"""A bundle behind a port, until the process is told to stop."""

import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn

from serving.app import create_app
from serving.service import Service, open_service


class LoadingFailedError(RuntimeError):
    """The server stopped because there was nothing to serve; the log and the cause say why."""


def serve(folder: Path, *, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve a bundle. The port is open while the bundle loads, so that a probe finds the process alive but not ready.

    Args:
        folder: Of the bundle.
        host: The address to listen at.
        port: 0 takes any that is free.
        announce: Told the URL once the port is open.

    Raises:
        OSError: The address cannot be listened at.
        LoadingFailedError: The bundle cannot be served.
    """
    failures: list[Exception] = []

    def load() -> Service:
        try:
            return open_service(folder)
        except Exception as failure:
            failures.append(failure)
            server.should_exit = True
            raise  # to the owner, who logs it

    listener = _listen(host, port)
    server = uvicorn.Server(uvicorn.Config(create_app(load), log_level="warning", timeout_graceful_shutdown=10))
    # uvicorn finishes what it is answering, then raises the signal once more: that time it ends the process in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    announce(_url(host, listener))
    server.run(sockets=[listener])
    if failures:
        raise LoadingFailedError(str(failures[0])) from failures[0]


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # Connections inherit it. Without it the body of an answer waits 40 ms for the other side to confirm the headers;
    # asyncio sets it only on sockets whose protocol is named, which create_server does not do.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
