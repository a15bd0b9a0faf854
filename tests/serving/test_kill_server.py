"""The whole server is killed under write load; what it acknowledged over HTTP is there when it is started again."""

import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.client import HTTPException

import pytest

from serving.state import open_state
from tests.serving.live_server import wait_until_ready

WRITERS = 4


def start(bundle, state, port):
    program = "from serving.cli import app; app()"
    command = [sys.executable, "-c", program, "serve", "--bundle", str(bundle), "--port", str(port)]
    server = subprocess.Popen(
        command, env={**os.environ, "RECSYS_STATE__FOLDER": str(state)}, stdout=subprocess.DEVNULL
    )
    for _ in range(1_000):
        try:
            wait_until_ready(f"http://127.0.0.1:{port}")
            return server
        except OSError:
            assert server.poll() is None, "the server ended by itself"
            time.sleep(0.05)
    raise AssertionError("the server did not start")


def send(port, method, path, body=None):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        None if body is None else json.dumps(body).encode(),
        {"content-type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def write(port, writer, numbers, acknowledged):
    """Events and items, until the server is gone; what was acknowledged is remembered, and what was only tried."""
    for number in numbers:
        item_id = f"w{writer}-{number % 20}"
        try:
            send(port, "POST", "/v1/events", {"user_id": f"w{writer}", "item_id": "shelf/01", "event_id": f"{number}"})
            acknowledged["events"].append((f"w{writer}", f"{number}"))
            acknowledged["tried"][item_id] = number  # killed on its way, it may have been kept, or not
            send(port, "PUT", f"/v1/items/{item_id}", {"title": f"{number}"})
            acknowledged["items"][item_id] = number
        except (OSError, HTTPException):  # an answer that was cut short is no acknowledgement
            return


@pytest.mark.slow
@pytest.mark.parametrize("kills", [20])
def test_a_killed_server_comes_back_with_all_it_acknowledged(broken, tmp_path, record_testsuite_property, kills):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    state, chance = tmp_path / "state", random.Random(0)
    acknowledged = {"events": [], "items": {}, "tried": {}}
    counters = [itertools.count() for _ in range(WRITERS)]
    for _ in range(kills):
        server = start(broken, state, port)
        writers = [
            threading.Thread(target=write, args=(port, writer, counters[writer], acknowledged))
            for writer in range(WRITERS)
        ]
        for one in writers:
            one.start()
        time.sleep(chance.uniform(0.1, 0.6))
        server.send_signal(signal.SIGKILL)
        server.wait()
        for one in writers:
            one.join()
        kept = open_state(state)
        events = {(event.user_id, event.event_id) for part in kept.histories.everything() for event in part}
        titles = {item.item_id: int(item.document.title) for item in kept.items.since(0)}
        kept.close()
        newest = [pair for pair in acknowledged["events"] if pair not in events]
        assert not newest, f"acknowledged and gone: {newest[:5]}"
        for item_id, number in acknowledged["items"].items():
            assert titles[item_id] in (number, acknowledged["tried"][item_id]), item_id
        acknowledged["items"].update(titles)  # what was found after one kill must not be gone after the next
    assert len(acknowledged["events"]) > kills
    record_testsuite_property("kills", kills)
    server = start(broken, state, port)
    try:
        for item_id in list(acknowledged["items"])[:20]:
            assert send(port, "GET", f"/v1/items/{item_id}/similar")["item_id"] == item_id
        answer = send(port, "POST", "/v1/recommend", {"user_id": "w0"})
        assert answer["path"] == "personal"
    finally:
        server.terminate()
        server.wait()
