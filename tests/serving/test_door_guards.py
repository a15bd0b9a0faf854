"""What stands before the routes: keys, rates, sizes, times, and how many may be inside."""

import asyncio
import dataclasses
import json
import logging
import threading
import time

import httpx2
import pytest
from fastapi.testclient import TestClient

from serving import access
from serving.app import create_app
from serving.keys import KeyRing, Scope, create_key, write_keys
from serving.settings import AccessSettings, LimitSettings, Settings

PROBLEM = "application/problem+json"
ASK = {"user_id": "顾客3", "k": 3}


def settings(**groups):
    return Settings(**groups)


def opened(service, **groups):
    """A client of an app with these settings, once it answers."""
    client = TestClient(create_app(lambda: service, settings=settings(**groups)), raise_server_exceptions=False)
    client.__enter__()
    while client.get("/readyz").status_code != 200:
        time.sleep(0.005)
    return client


def assert_problem(response, status, kind):
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    assert response.json()["type"] == f"urn:problem-type:recsys:{kind}" if kind else "about:blank"
    return response.json()


@pytest.fixture
def guarded(service, tmp_path):
    """An app that wants keys, and a key for each scope."""
    made = {scope: create_key([scope], note="") for scope in Scope}
    write_keys(tmp_path / "keys.json", KeyRing(tuple(kept for _, kept in made.values())))
    client = opened(service, access=AccessSettings(key_file=tmp_path / "keys.json"))
    yield (
        client,
        {scope: {"authorization": f"Bearer {key}"} for scope, (key, _) in made.items()},
        tmp_path / "keys.json",
    )
    client.__exit__(None, None, None)


def test_without_a_key_only_health_docs_and_meters_answer(guarded):
    client, _, _ = guarded
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/swagger-ui.js"):
        assert client.get(path).status_code == 200, path
    for response in (
        client.post("/v1/recommend", json=ASK),
        client.get("/v1/model"),
        client.get("/v1/nothing"),
        client.post("/v1/admin/reload"),
        client.get("/v1/model", headers={"authorization": "Bearer recsys_00000000_x"}),
        client.get("/v1/model", headers={"authorization": "Basic eDp5"}),
        client.get("/v1/model", headers={"x-api-key": "ключ".encode()}),
    ):
        problem = assert_problem(response, 401, "no-key")
        assert response.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer" in problem["detail"]


def test_each_scope_opens_its_own_doors(guarded):
    client, keys, _ = guarded
    assert client.post("/v1/recommend", json=ASK, headers=keys["read"]).status_code == 200
    assert client.get("/v1/model", headers={"x-api-key": keys["read"]["authorization"].split()[1]}).status_code == 200
    assert client.post("/v1/admin/rollback", headers=keys["admin"]).status_code == 409  # there is nothing before
    for scope, others in ((Scope.READ, ("write", "admin")), (Scope.ADMIN, ("read", "write"))):
        for other in others:
            method, path = {"read": ("GET", "/v1/model"), "admin": ("POST", "/v1/admin/reload")}.get(
                scope.value, ("", "")
            )
            problem = assert_problem(client.request(method, path, headers=keys[other]), 403, "wrong-scope")
            assert f"needs {scope}" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/users/3/interests", Scope.READ),
        ("POST", "/v1/recommend/batch", Scope.READ),
        ("POST", "/v1/events", Scope.WRITE),
        ("PUT", "/v1/items/3", Scope.WRITE),
        ("DELETE", "/v1/users/3", Scope.WRITE),
        ("GET", "/v1/admin/anything", Scope.ADMIN),
        ("PATCH", "/v1/recommend", Scope.WRITE),
    ],
)
def test_what_changes_something_needs_more(method, path, scope):
    assert access.needed_scope(method, path) is scope


def test_a_revoked_key_is_refused_and_a_broken_file_changes_nothing(guarded, monkeypatch, caplog):
    client, keys, file = guarded
    monkeypatch.setattr(access, "LOOK_AGAIN_S", 0.0)
    file.write_text("{")
    assert client.get("/v1/model", headers=keys["read"]).status_code == 200
    assert "keys stay as they were" in caplog.text
    write_keys(file, KeyRing(()))
    assert client.get("/v1/model", headers=keys["read"]).status_code == 401


def test_a_rate_is_kept_for_each_caller(service, tmp_path):
    (one, kept_one), (two, kept_two) = (create_key([Scope.READ], note="") for _ in range(2))
    write_keys(tmp_path / "keys.json", KeyRing((kept_one, kept_two)))
    client = opened(service, access=AccessSettings(key_file=tmp_path / "keys.json", rate_limit="3/minute"))
    ask = [client.get("/v1/model", headers={"x-api-key": one}) for _ in range(5)]
    assert [response.status_code for response in ask] == [200, 200, 200, 429, 429]
    problem = assert_problem(ask[-1], 429, "rate-limit")
    assert "3 per 1 minute" in problem["detail"]
    assert 1 <= int(ask[-1].headers["retry-after"]) <= 60
    assert client.get("/v1/model", headers={"x-api-key": two}).status_code == 200
    assert client.get("/healthz").status_code == 200
    client.__exit__(None, None, None)


def test_sizes(service):
    limits = LimitSettings(max_body_bytes=1_000, max_path_bytes=300, max_header_bytes=2_000)
    client = opened(service, limits=limits)
    assert client.post("/v1/recommend", json=ASK).status_code == 200
    large = {"user_id": "x" * 1_000}
    problem = assert_problem(client.post("/v1/recommend", json=large), 413, "")
    assert "at most 1000" in problem["detail"]

    def in_parts():
        yield b'{"user_id": "'
        for _ in range(20):
            yield b"x" * 100

    problem = assert_problem(
        client.post("/v1/recommend", content=in_parts(), headers={"content-type": "application/json"}), 413, ""
    )
    assert "at most 1000" in problem["detail"]
    assert_problem(client.get("/v1/items/" + "x" * 300 + "/similar"), 414, "")
    assert_problem(client.get("/v1/model", params={"x": "y" * 300}), 414, "")
    assert_problem(client.get("/v1/model", headers={"x-long": "y" * 2_000}), 431, "")
    assert 'recsys_refused_total{reason="size"} 4.0' in client.get("/metrics").text
    client.__exit__(None, None, None)


class Slow:
    """A service whose search waits until it is let go."""

    def __init__(self, service):
        self.go_on, self.inside = threading.Event(), 0
        self._search = service.recommender.search
        self.service = dataclasses.replace(
            service, recommender=dataclasses.replace(service.recommender, search=self.search)
        )

    def search(self, vectors, k):
        self.inside += 1
        self.go_on.wait(timeout=30)
        return self._search(vectors, k)


def in_loop(app, scenario):
    """Runs a scenario against an app whose lifespan has begun, all in one event loop."""

    async def live():
        async with app.router.lifespan_context(app):
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
                while (await client.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.005)
                return await scenario(client)

    return asyncio.run(live())


def test_one_too_many_is_told_to_come_back_at_once(service):
    slow = Slow(service)
    app = create_app(lambda: slow.service, settings=settings(limits=LimitSettings(max_in_flight=4, retry_after_s=3)))

    async def scenario(client):
        asked = [asyncio.ensure_future(client.post("/v1/recommend", json=ASK)) for _ in range(4)]
        while slow.inside == 0:
            await asyncio.sleep(0.005)
        started = time.perf_counter()
        refused = await client.post("/v1/recommend", json=ASK)
        waited_s = time.perf_counter() - started
        health = [(await client.get(path)).status_code for path in ("/healthz", "/readyz", "/metrics")]
        slow.go_on.set()
        answered = [response.status_code for response in await asyncio.gather(*asked)]
        after = await client.post("/v1/recommend", json=ASK)
        return refused, waited_s, health, answered, after

    refused, waited_s, health, answered, after = in_loop(app, scenario)
    problem = assert_problem(refused, 503, "overloaded")
    assert refused.headers["retry-after"] == "3"
    assert "4 requests" in problem["detail"]
    assert waited_s < 1
    assert health == [200, 200, 200]
    assert answered == [200] * 4
    assert after.status_code == 200


def test_what_takes_too_long_is_told_so_and_leaves_room_for_others(service):
    slow = Slow(service)
    limits = LimitSettings(max_in_flight=1, timeout_s=0.2)
    app = create_app(lambda: slow.service, settings=settings(limits=limits))

    async def scenario(client):
        late = await client.post("/v1/recommend", json=ASK)
        slow.go_on.set()
        return late, await client.post("/v1/recommend", json=ASK)

    late, after = in_loop(app, scenario)
    problem = assert_problem(late, 503, "timeout")
    assert "0.2 s" in problem["detail"]
    assert late.headers["retry-after"] == "1"
    assert after.status_code == 200


def test_a_body_that_never_ends_is_cut_off(service):
    app = create_app(lambda: service, settings=settings(limits=LimitSettings(timeout_s=0.2)))

    sent = []

    async def live():
        async with app.router.lifespan_context(app):
            while app.state.owner.main.running is None:
                await asyncio.sleep(0.005)
            parts = iter([{"type": "http.request", "body": b'{"user_id"', "more_body": True}])

            async def receive():
                part = next(parts, None)
                if part is None:
                    await asyncio.sleep(30)
                return part

            async def send(message):
                sent.append(message)

            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/recommend",
                "raw_path": b"/v1/recommend",
                "query_string": b"",
                "headers": [(b"content-type", b"application/json")],
                "client": ("test", 1),
            }
            await app(scope, receive, send)

    asyncio.run(live())
    assert sent[0]["status"] == 408
    assert "not there whole" in json.loads(sent[1]["body"])["detail"]


def test_every_answer_has_an_id_and_a_failure_names_it(service, caplog):
    def broken(vectors, k):
        raise ZeroDivisionError("a secret of the house")

    failing = dataclasses.replace(service, recommender=dataclasses.replace(service.recommender, search=broken))
    client = opened(failing)
    given = client.get("/healthz", headers={"x-request-id": "mine-1"})
    assert given.headers["x-request-id"] == "mine-1"
    made = {client.get("/healthz").headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3
    odd = client.get("/healthz", headers={"x-request-id": "a b\tc"})
    assert " " not in odd.headers["x-request-id"]
    failed = client.post("/v1/recommend", json=ASK)
    problem = assert_problem(failed, 500, "")
    assert failed.headers["x-request-id"] in problem["detail"]
    assert "secret" not in failed.text
    assert "ZeroDivisionError" in caplog.text
    client.__exit__(None, None, None)


def test_the_log_tells_users_apart_without_naming_them(guarded, caplog):
    client, keys, _ = guarded
    caplog.set_level(logging.INFO)
    headers = keys["read"] | {"cookie": "session=verysecret"}
    for user in ("顾客3", "顾客3", "顾客4"):
        client.post("/v1/recommend?token=alsosecret", json={"user_id": user}, headers=headers)
    client.get("/v1/model", headers={"authorization": "Bearer recsys_0_wrongsecret"})
    client.delete("/v1/users/顾客未知", headers=keys["write"])
    lines = [record for record in caplog.records if record.getMessage() == "request"]
    asked = [line for line in lines if line.route == "/v1/recommend"]
    assert [line.status for line in asked] == [200, 200, 200]
    assert asked[0].user == asked[1].user != asked[2].user
    assert lines[-1].route == "/v1/users/{user_id}"
    assert len(lines[-1].user) == 16
    everything = "".join(str(record.__dict__) for record in caplog.records if record.name != "httpx2")  # the caller
    for secret in ("顾客", "verysecret", "alsosecret", "wrongsecret", keys["read"]["authorization"].split("_")[2]):
        assert secret not in everything


def test_meters_count_by_route_and_status_not_by_path(service):
    client = opened(service)
    for item_id in ("shelf/01", "shelf/02", "unknown"):
        client.get(f"/v1/items/{item_id}/similar")
    client.get("/v1/no/such/place")
    client.post("/v1/recommend", json=ASK)
    client.post("/v1/recommend", json={"k": 3})
    for _ in range(500):
        if 'path="popular"' in (told := client.get("/metrics").text):
            break
        time.sleep(0.01)  # an answer is given first and counted then
    for line in (
        'recsys_requests_total{method="GET",route="/v1/items/{item_id}/similar",status="200"} 2.0',
        'recsys_requests_total{method="GET",route="/v1/items/{item_id}/similar",status="404"} 1.0',
        'recsys_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'recsys_recommendations_total{path="personal",variant="main"} 1.0',
        'recsys_recommendations_total{path="popular",variant="main"} 1.0',
        'recsys_stage_seconds_count{stage="encode",variant="main"} 1.0',
        'recsys_index_items{variant="main"} 40.0',
        'recsys_batch_size_count{variant="main"} 2.0',
        f'recsys_model{{fingerprint="{service.bundle.fingerprint[:12]}",runtime="torch",variant="main"}} 1.0',
    ):
        assert line in told, line
    assert "no/such" not in told
    client.__exit__(None, None, None)
