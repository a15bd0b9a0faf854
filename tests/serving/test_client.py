"""The client asks everything that the API describes, and reads every answer into its type."""

import re
import subprocess
import sys
import time

import httpx2
import pytest
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.client import Client, ServiceError
from serving.event_schemas import NewEvent
from serving.item_schemas import ItemBody
from serving.keys import KeyRing, Scope, create_key, write_keys
from serving.opening import open_service
from serving.schemas import HistoryEvent, RecommendRequest
from serving.settings import AccessSettings, Settings
from tests.serving.asking import assert_same_items

NOW = 1_703_000_000


@pytest.fixture
def app(shop, tmp_path):
    key, kept = create_key(list(Scope), note="")
    write_keys(tmp_path / "keys.json", KeyRing((kept,)))
    settings = Settings(access=AccessSettings(key_file=tmp_path / "keys.json"))
    with TestClient(create_app(lambda: open_service(shop), settings=settings)) as http:
        while http.get("/readyz").status_code != 200:
            time.sleep(0.005)
        yield http, Client("http://testserver", key=key, http=http)


def test_every_operation_that_is_described_has_a_method(app, service):
    http, client = app
    request = RecommendRequest(user_id="顾客3", requested_at=NOW, k=4)
    expected = service.recommend(request)

    assert client.healthy().status == client.ready().status == "ok"
    answer = client.recommend(request)
    assert (answer.path, answer.model) == ("personal", service.bundle.fingerprint)
    assert_same_items(answer.items, expected.items)
    told = RecommendRequest(history=[HistoryEvent(item_id="shelf/04")], explain=True, requested_at=NOW)
    one, other = client.recommend_batch([request, told])
    assert_same_items(one.items, expected.items)
    assert other.items[0].reasons is not None
    assert_same_items(client.similar("shelf/05", k=2).items, service.similar("shelf/05", k=2).items)
    assert client.model() == service.describe()
    assert client.add_events([NewEvent(user_id="新/客", item_id="shelf/05", event_id="1")]).new == 1
    assert client.recommend(RecommendRequest(user_id="新/客")).path == "personal"
    assert client.interests("顾客3", requested_at=NOW)["requested_at"] == NOW
    with pytest.raises(ServiceError, match="409"):
        client.classify("新茶")  # the shop has learnt nothing of texts
    assert client.delete_user("新/客").events_removed == 1
    assert client.put_item("shelf/new?", ItemBody(title="新茶", categories=["odd"])).was == "new"
    assert client.similar("shelf/new?", k=1).title == "新茶"
    assert client.remove_item("shelf/new?").item_id == "shelf/new?"
    assert client.reload().before == service.bundle.fingerprint
    assert client.roll_back().model == service.bundle.fingerprint

    described = {
        (method.upper(), path)
        for path, operations in http.get("/openapi.json").json()["paths"].items()
        for method in operations
    }
    asked = set(re.findall(r'recsys_requests_total\{method="(\w+)",route="([^"]+)"', client.metrics()))
    asked = {(method, re.sub(r":path\}", "}", path)) for method, path in asked} | {("GET", "/metrics")}
    assert not described - asked, "the client lacks these"


def test_a_refusal_says_why_and_when_to_come_back(app):
    _, client = app
    with pytest.raises(ServiceError, match=r"404 There is no such item: .*'绿茶'") as refusal:
        client.similar("绿茶")
    assert refusal.value.problem.type == "urn:problem-type:recsys:unknown-item"
    assert refusal.value.retry_after_s is None
    assert refusal.value.request_id


def test_what_a_proxy_says_is_passed_on():
    def proxy(request):
        return httpx2.Response(503, text="<html>come later</html>", headers={"retry-after": "7"})

    http = httpx2.Client(transport=httpx2.MockTransport(proxy), base_url="http://proxy")
    with Client("http://proxy", http=http) as client, pytest.raises(ServiceError, match="come later") as refusal:
        client.healthy()
    assert refusal.value.retry_after_s == 7


def test_it_needs_no_torch():
    """Whoever calls the service need not install what runs it."""
    program = "import sys, serving.client; print([n for n in ('torch', 'faiss', 'fastapi') if n in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"
