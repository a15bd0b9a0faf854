"""Two replicas behind one address, of which one is killed while both are asked."""

import http.client
import json
import socket
import threading
import time
from collections import Counter

import pytest

from serving.settings import ServerSettings, Settings, StateSettings

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

ASK = json.dumps({"user_id": "顾客3", "k": 5, "requested_at": 1_703_000_000})
CALLERS = 4


@pytest.fixture
def replicas(shop, tmp_path):
    from ray import serve

    from serving.replicas import run

    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = Settings(server=ServerSettings(bundle=shop, port=port), state=StateSettings(folder=tmp_path / "state"))
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    try:
        run(settings, fewest=2, most=2)
        yield f"127.0.0.1:{port}"
    finally:
        serve.shutdown()
        ray.shutdown()


def living():
    """The replicas' actors, by name."""
    listed = ray.util.list_named_actors(all_namespaces=True)
    return {one["name"]: one["namespace"] for one in listed if one["name"].startswith("SERVE_REPLICA::recsys")}


def ask(place):
    """The status of an answer and the items in it."""
    connection = http.client.HTTPConnection(place, timeout=30)
    try:
        connection.request("POST", "/v1/recommend", ASK, {"content-type": "application/json"})
        response = connection.getresponse()
        body = response.read()
    except OSError:
        return 0, []
    finally:
        connection.close()
    items = [item["item_id"] for item in json.loads(body)["items"]] if response.status == 200 else []
    return response.status, items


def test_one_of_two_is_killed_under_load(replicas, service):
    from serving.schemas import RecommendRequest

    expected = [item.item_id for item in service.recommend(RecommendRequest.model_validate_json(ASK)).items]
    assert ask(replicas) == (200, expected)
    assert len(living()) == 2
    statuses, wrong, stop = Counter(), [], threading.Event()

    def call():
        while not stop.is_set():
            status, items = ask(replicas)
            statuses[status] += 1
            if status == 200 and items != expected:
                wrong.append(items)

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(2)
    before = living()
    killed = min(before)
    ray.kill(ray.get_actor(killed, namespace=before[killed]), no_restart=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (len(living()) == 2 and killed not in living()):
        time.sleep(0.5)
    time.sleep(2)
    stop.set()
    for caller in callers:
        caller.join(timeout=60)
    assert len(living()) == 2
    assert killed not in living()
    assert not wrong
    assert statuses[200] > 20
    # Only what was inside the one that was killed may have been lost.
    assert sum(count for status, count in statuses.items() if status != 200) <= 2 * CALLERS, statuses
    assert Counter(ask(replicas)[0] for _ in range(20)) == {200: 20}
