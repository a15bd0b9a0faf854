"""Bodies made to break things: each is answered or refused, nothing fails, and nothing of it stays in memory."""

import asyncio
import gc
import json
import random
import urllib.request
from pathlib import Path

import pytest

from benchmarks.serving.wire import Connection
from serving.app import create_app
from serving.opening import open_service
from serving.settings import LimitSettings, Settings
from tests.serving.live_server import live

CALLERS = 16
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


async def besieged(url, bodies):
    """Sends them all, several at once; returns how many were answered well. Nothing may fail, and nobody hang up."""
    good = 0

    async def call():
        nonlocal good
        connection = await Connection.to(url)
        for method, path, body, content_type in bodies:
            if not connection.open:
                connection = await Connection.to(url)
            reply = await connection.ask(request(method, path, body, content_type))
            assert reply.status < 500, (method, path, body[:500], reply.body)
            if reply.status >= 400:
                assert reply.json()["status"] == reply.status
            else:
                good += 1
        connection.close()

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return good


def request(method, path, body, content_type):
    lines = [
        f"{method} {path} HTTP/1.1",
        "host: siege",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def besiege(shop, count):
    """Send so many over real connections; returns how many were answered well, and by how much the last half grew."""
    rng = random.Random(0)
    settings = Settings(limits=LimitSettings(max_body_bytes=100_000))
    with live(create_app(lambda: open_service(shop), settings=settings)) as url:
        good = asyncio.run(besieged(url, (hostile(rng) for _ in range(count // 2))))
        gc.collect()
        halfway = resident_mib()
        good += asyncio.run(besieged(url, (hostile(rng) for _ in range(count // 2))))
        gc.collect()
        grown = resident_mib() - halfway
        with urllib.request.urlopen(f"{url}/metrics", timeout=30) as metrics:
            assert "recsys_in_flight 0.0" in metrics.read().decode()
        asked = urllib.request.Request(
            f"{url}/v1/recommend", json.dumps(HONEST[0]).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=30) as answer:
            assert answer.status == 200
    return good, grown


def test_two_thousand(shop, record_testsuite_property):
    good, _ = besiege(shop, 2_000)
    assert 100 < good < 1_500  # some come through, as they should
    record_testsuite_property("bodies", 2_000)


@pytest.mark.slow
def test_a_hundred_thousand_leave_nothing_behind(shop, record_testsuite_property):
    _, grown = besiege(shop, 100_000)
    assert grown < 50
    record_testsuite_property("bodies", 100_000)
