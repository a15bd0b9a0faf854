"""A bundle behind a port, until the process is told to stop."""

import math
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from recsys.errors import InputError
from serving.app import create_app
from serving.opening import open_service
from serving.runtimes import with_quickest_tower
from serving.service import Service
from serving.settings import Settings
from serving.state import State, state_for
from serving.workers import supervise


class LoadingFailedError(RuntimeError):
    """The server stopped because there was nothing to serve; the log and the cause say why."""


def serve(settings: Settings, *, announce: Callable[[str], None]) -> None:
    """Serve a bundle. The port is open while the bundle loads, so that a probe finds the process alive but not ready.

    Args:
        settings: They name the bundle.
        announce: Told the URL once the port is open.

    Raises:
        InputError: The settings name no bundle, or a key file that is missing or damaged.
        OSError: The address cannot be listened at.
        LoadingFailedError: The bundle cannot be served.
    """
    folder_of(settings)
    listener = _listen(settings.server.host, settings.server.port)
    announce(_url(settings.server.host, listener))
    if settings.server.workers == 1:
        serve_at(listener, settings)
    else:
        supervise(listener, settings, work=serve_at)


def serve_at(listener: socket.socket, settings: Settings) -> None:
    """Serve in this process, until it is told to stop.

    Raises:
        InputError, LoadingFailedError: As `serve`.
    """
    failures: list[Exception] = []

    def stop(failure: Exception) -> None:
        failures.append(failure)
        server.should_exit = True

    app, state = app_of(settings, nothing_to_serve=stop)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=math.ceil(settings.server.keep_alive_s),
            timeout_graceful_shutdown=math.ceil(settings.server.drain_s),
        )
    )
    # uvicorn finishes what it is answering, then raises the signal once more: that time it ends the process in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        server.run(sockets=[listener])
    finally:
        state.close()
    if failures:
        raise LoadingFailedError(str(failures[0])) from failures[0]


def app_of(settings: Settings, *, nothing_to_serve: Callable[[Exception], None]) -> tuple[FastAPI, State]:
    """The app that serves the bundle of the settings, and what it keeps, to be closed after it.

    Args:
        settings: They name the bundle.
        nothing_to_serve: Told why, should the first bundle be refused; a later one leaves what runs.

    Raises:
        InputError: As `serve`.
    """
    folder, trial = folder_of(settings), settings.trial.bundle
    state = state_for(folder, settings.state)

    def load(link: Path) -> Service:
        place = link.resolve()  # followed once, so that all files come from one bundle
        return with_quickest_tower(open_service(place, state=state), place, settings.tower)

    def load_main() -> Service:
        try:
            return load(folder)
        except Exception as failure:
            if app.state.owner.main.running is None:
                nothing_to_serve(failure)
            raise  # to the variant, which logs it

    app = create_app(load_main, settings=settings, load_trial=None if trial is None else lambda: load(trial))
    return app, state


def folder_of(settings: Settings) -> Path:
    """The folder of the bundle to serve, or the link in its place.

    Raises:
        InputError: The settings name none.
    """
    if settings.server.bundle is None:
        raise InputError("serve: no bundle. Pass --bundle DIR, or set RECSYS_SERVER__BUNDLE.")
    return settings.server.bundle


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    # Connections inherit it. Without it the body of an answer waits 40 ms for the other side to confirm the headers;
    # asyncio sets it only on sockets whose protocol is named, which create_server does not do.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
