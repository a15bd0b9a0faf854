"""Bodies made to break things: each is answered or refused, nothing fails, and nothing of it stays in memory."""

import gc
import json
import random
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.opening import open_service
from serving.settings import LimitSettings, Settings

DOORS = [
    ("POST", "/v1/recommend"),
    ("POST", "/v1/recommend/batch"),
    ("POST", "/v1/events"),
    ("PUT", "/v1/items/shelf%2F03"),
]
HONEST = [
    {"user_id": "顾客3", "history": [{"item_id": "shelf/01", "value": 3, "occurred_at": 5}], "k": 7, "explain": True},
    {"requests": [{"user_id": "顾客1", "k": 2}, {"history": [{"item_id": "shelf/09"}]}]},
    {"events": [{"user_id": "u", "item_id": "shelf/01", "event_id": "1", "occurred_at": 1_700_000_000}]},
    {"title": "茶", "categories": ["odd"], "numbers": {"price": 3.5}},
]
ODD = [
    None, True, -1, 0, 1.5, 1e308, -0.0, 2**63, 2**64, 10**400, float("nan"), float("inf"), "", " ", "\x00", "\ud800",
    "𝔘𝔫𝔦", "a" * 5_000, "../../etc/passwd", "'; DROP TABLE events; --", "${jndi:ldap://x}", [], {}, [[]], [None],
    {"": ""}, {"$ref": "#"},
]  # fmt: skip


def hostile(rng):
    """A door and a body that tries it."""
    which = rng.randrange(len(DOORS))
    kind = rng.random()
    if kind < 0.1:
        body = bytes(rng.randrange(256) for _ in range(rng.randrange(200)))
    elif kind < 0.2:
        body = b"[" * rng.choice([10, 1_000, 50_000]) + b'{"a":' * rng.choice([0, 1_000])
    elif kind < 0.3:
        body = b'{"k": %s}' % (b"1" * rng.choice([5, 400, 5_000]))
    else:
        body = written(mutated(HONEST[which], rng, depth=0))
        if kind < 0.6:
            body = damaged(body, rng)
    types = ["application/json", "application/json; charset=utf-16", "text/plain", "application/problem+json", ""]
    return *DOORS[which], body, rng.choices(types, [20, 1, 1, 1, 1])[0]


def mutated(value, rng, *, depth):
    if rng.random() < 0.1 * (depth + 1):
        return rng.choice(ODD)
    if isinstance(value, dict):
        found = {name: mutated(inner, rng, depth=depth + 1) for name, inner in value.items() if rng.random() < 0.9}
        if rng.random() < 0.1:
            found[rng.choice(["", "k", "__proto__", "__class__", "history", "长" * 100])] = rng.choice(ODD)
        return found
    if isinstance(value, list):
        return [mutated(inner, rng, depth=depth + 1) for inner in value] * rng.choices([1, 2, 40], [30, 5, 1])[0]
    return value


def written(value):
    return json.dumps(value, ensure_ascii=random.Random(repr(value)).random() < 0.5).encode(errors="surrogatepass")


def damaged(body, rng):
    place = rng.randrange(len(body) + 1)
    kind = rng.randrange(4)
    if kind == 0:
        return body[:place]
    if kind == 1:
        return body[:place] + bytes([rng.randrange(256)]) + body[place + 1 :]
    if kind == 2:
        return body[:place] + body[place // 2 :]
    return b"\xef\xbb\xbf" + body


def resident_mib():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1_024


def besiege(shop, count):
    """Send so many; returns how many were answered well, and by how much memory grew after the first half."""
    rng = random.Random(0)
    settings = Settings(limits=LimitSettings(max_body_bytes=100_000))
    good, halfway = 0, 0.0
    with TestClient(create_app(lambda: open_service(shop), settings=settings)) as client:
        while client.get("/readyz").status_code != 200:
            time.sleep(0.01)
        for number in range(count):
            if number == count // 2:
                gc.collect()
                halfway = resident_mib()
            method, path, body, content_type = hostile(rng)
            response = client.request(method, path, content=body, headers={"content-type": content_type})
            assert response.status_code < 500, (method, path, body[:500], response.text)
            if response.status_code >= 400:
                assert response.headers["content-type"] == "application/problem+json"
            else:
                good += 1
        gc.collect()
        grown = resident_mib() - halfway
        assert client.post("/v1/recommend", json=HONEST[0]).status_code == 200
        assert "recsys_in_flight 0.0" in client.get("/metrics").text
    return good, grown


def test_two_thousand(shop):
    good, _ = besiege(shop, 2_000)
    assert 100 < good < 1_500  # some come through, as they should


@pytest.mark.slow
def test_a_hundred_thousand_leave_nothing_behind(shop):
    _, grown = besiege(shop, 100_000)
    assert grown < 50
