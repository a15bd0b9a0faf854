"""The app behind a real port, in a thread of the test's own process."""

import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import uvicorn


@contextmanager
def live(app):
    """Gives the URL of an app that answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    server.install_signal_handlers = lambda: None
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until_ready(url)
        yield url
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()


def wait_until_ready(url):
    for _ in range(1_000):
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=10):
                return
        except urllib.error.HTTPError as problem:
            problem.close()
            time.sleep(0.01)
    raise AssertionError("never ready")
