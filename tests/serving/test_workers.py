"""The real command with two workers: one is killed, one is told to stop while it answers."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ASK = json.dumps({"user_id": "顾客3", "k": 5})


@pytest.fixture
def serve(shop):
    """Starts `recsys serve`; gives the process and where it listens."""
    started = []

    def start(*options):
        command = [sys.executable, "-c", "from serving.cli import app; app()", "serve", "--bundle", str(shop)]
        process = subprocess.Popen([*command, "--port", "0", *options], stdout=subprocess.PIPE, text=True)
        started.append(process)
        place = process.stdout.readline().split("http://")[1].split(",")[0]
        for _ in range(1_200):
            if ask(place, "GET", "/readyz") == 200:
                return process, place
            time.sleep(0.05)
        raise AssertionError("never ready")

    yield start
    for process in started:
        process.terminate()
        process.wait(timeout=30)
        process.stdout.close()


def ask(place, method="POST", path="/v1/recommend"):
    """The status of an answer, 0 for none."""
    connection = http.client.HTTPConnection(place, timeout=30)
    try:
        connection.request(method, path, ASK if method == "POST" else None, {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
    except OSError:
        return 0
    finally:
        connection.close()
    return response.status


def workers_of(process):
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in listed}
    return {pid for pid, command in commands.items() if "spawn_main" in command}


def wait_for(what):
    for _ in range(1_200):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never happened")


def test_a_worker_that_dies_is_replaced(serve):
    process, place = serve("--workers", "2")
    wait_for(lambda: len(workers_of(process)) == 2)
    wait_for(lambda: Counter(ask(place) for _ in range(20)) == {200: 20})
    before = workers_of(process)
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: len(workers_of(process) - before) == 1)
    wait_for(lambda: Counter(ask(place) for _ in range(20)) == {200: 20})
    connection = http.client.HTTPConnection(place, timeout=30)
    connection.request("GET", "/metrics")
    told = connection.getresponse().read().decode()
    connection.close()
    counted = next(line for line in told.splitlines() if line.startswith("recsys_batch_size_sum"))
    assert float(counted.split()[-1]) >= 40  # of both workers, whichever was asked
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 0


def test_whoever_is_inside_when_it_is_told_to_stop_is_answered(serve):
    process, place = serve()
    statuses, may_stop = [], threading.Event()

    def call():
        connection = http.client.HTTPConnection(place, timeout=30)
        connection.connect()
        for _ in range(200):
            try:
                connection.request("POST", "/v1/recommend", ASK, {"content-type": "application/json"})
            except OSError:
                break  # not asked at all: the connection was closed between two requests
            try:
                response = connection.getresponse()
            except (http.client.RemoteDisconnected, ConnectionResetError):
                break
            response.read()
            statuses.append(response.status)
            may_stop.set()
            if response.headers.get("connection") == "close":
                break
        connection.close()

    callers = [threading.Thread(target=call) for _ in range(8)]
    for caller in callers:
        caller.start()
    assert may_stop.wait(timeout=30)
    process.send_signal(signal.SIGTERM)
    for caller in callers:
        caller.join(timeout=30)
    assert process.wait(timeout=30) == 0
    assert set(statuses) == {200}
    assert ask(place) == 0


def test_an_idle_connection_stays_open_longer_than_clients_keep_theirs(serve, monkeypatch):
    """Clients keep an idle one five seconds or so; closed at that very moment, a request on it would get no answer."""
    connection = http.client.HTTPConnection(serve()[1], timeout=30)
    monkeypatch.setenv("RECSYS_SERVER__KEEP_ALIVE_S", "1")
    hasty = http.client.HTTPConnection(serve()[1], timeout=30)
    for one in (connection, hasty):
        one.request("GET", "/healthz")
        one.getresponse().read()
    first = connection.sock
    time.sleep(7)
    assert hasty.sock.recv(1) == b""  # closed, as it was told
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    assert connection.sock is first
    connection.close()
    hasty.close()
