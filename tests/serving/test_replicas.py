"""Replicas behind one address: one of two is killed while both are asked; one becomes two when requests queue."""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from serving.settings import ServerSettings, Settings, StateSettings
from tests.serving.redis_server import running_redis

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ASK = json.dumps({"user_id": "顾客3", "k": 5, "requested_at": 1_703_000_000})
CALLERS = 4


@pytest.fixture
def replicas(shop):
    """Starts replicas of the shop's service; gives where they listen."""
    from ray import serve

    from serving.replicas import run

    def start(state, *, fewest, most):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        run(Settings(server=ServerSettings(bundle=shop, port=port), state=state), fewest=fewest, most=most)
        return f"127.0.0.1:{port}"

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        yield start
    finally:
        serve.shutdown()
        ray.shutdown()


def living():
    """The replicas' actors, by name."""
    listed = ray.util.list_named_actors(all_namespaces=True)
    return {one["name"]: one["namespace"] for one in listed if one["name"].startswith("SERVE_REPLICA::recsys")}


def ask(place, body=ASK, *, path="/v1/recommend"):
    """The status of an answer and the items in it."""
    connection = http.client.HTTPConnection(place, timeout=30)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return 0, []
    finally:
        connection.close()
    items = [item["item_id"] for item in json.loads(body).get("items", [])] if response.status == 200 else []
    return response.status, items


@contextmanager
def load(place, callers, note=lambda status, items: None):
    """So many ask without a pause, and what they are answered is noted."""
    stop = threading.Event()

    def call():
        while not stop.is_set():
            note(*ask(place))

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)


def wait_until(what, *, at_most_s):
    deadline = time.monotonic() + at_most_s
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.5)


def test_one_of_two_is_killed_under_load(replicas, service, tmp_path):
    from serving.schemas import RecommendRequest

    place = replicas(StateSettings(folder=tmp_path / "state"), fewest=2, most=2)
    expected = [item.item_id for item in service.recommend(RecommendRequest.model_validate_json(ASK)).items]
    assert ask(place) == (200, expected)
    assert len(living()) == 2
    statuses, wrong = Counter(), []

    def note(status, items):
        statuses[status] += 1
        if status == 200 and items != expected:
            wrong.append(items)

    with load(place, CALLERS, note):
        time.sleep(2)
        before = living()
        killed = min(before)
        ray.kill(ray.get_actor(killed, namespace=before[killed]), no_restart=True)
        wait_until(lambda: len(living()) == 2 and killed not in living(), at_most_s=120)
        time.sleep(2)
    assert not wrong
    assert statuses[200] > 20
    # Only what was inside the one that was killed may have been lost.
    assert sum(count for status, count in statuses.items() if status != 200) <= 2 * CALLERS, statuses
    assert Counter(ask(place)[0] for _ in range(20)) == {200: 20}


def test_a_queue_calls_another_replica_and_both_know_what_one_was_told(replicas, tmp_path):
    with running_redis(tmp_path) as (url, _):
        place = replicas(StateSettings(folder=tmp_path / "state", redis_url=url), fewest=1, most=2)
        assert len(living()) == 1
        statuses = Counter()
        with load(place, 4 * CALLERS, lambda status, items: statuses.update([status])):
            wait_until(lambda: len(living()) == 2, at_most_s=180)
            time.sleep(5)  # the second loads its bundle, then answers
        assert set(statuses) == {200}
        everything = json.dumps({"user_id": "ann", "k": 40})
        assert "shelf/07" in ask(place, everything)[1]
        event = json.dumps({"user_id": "ann", "item_id": "shelf/07"})
        assert ask(place, event, path="/v1/events")[0] == 200
        offered = [ask(place, everything)[1] for _ in range(40)]  # of 40, each of two is asked some
        assert all(len(items) == 39 and "shelf/07" not in items for items in offered)
