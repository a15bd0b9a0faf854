"""A real Redis server on a free port, in a folder of its own; gone after the tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import time

import pytest


@contextlib.contextmanager
def running_redis(folder, *options):
    """Its URL and its process. Without the program the test is skipped, unless CI says that everything must run."""
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed, and CI must run everything: apt-get install redis-server")
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        wait_until_open(port)
        yield f"redis://127.0.0.1:{port}/0", server
    finally:
        server.kill()
        server.wait()


def wait_until_open(port):
    for _ in range(500):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise AssertionError("redis-server did not start")
