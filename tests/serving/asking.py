"""An app in this process, as a client sees it, over a state of its own."""

import contextlib
import time

import pytest
from fastapi.testclient import TestClient

from serving.app import create_app
from serving.opening import open_service
from serving.state import open_state

PROBLEM = "application/problem+json"


def ready(client):
    """Wait until the app answers."""
    for _ in range(3_000):
        if client.get("/readyz").status_code == 200:
            return client
        time.sleep(0.01)
    raise AssertionError(client.get("/readyz").text)


@contextlib.contextmanager
def serving(bundle, folder, **settings):
    """A client of an app that serves a bundle with the state in a folder, which is closed again at the end."""
    state = open_state(folder, **settings)
    try:
        with TestClient(create_app(lambda: open_service(bundle, state=state)), raise_server_exceptions=False) as client:
            yield ready(client)
    finally:
        state.close()


def recommend(client, **request):
    response = client.post("/v1/recommend", json=request)
    assert response.status_code == 200, response.text
    return response.json()


def assert_problem(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    return response.json()


def ids(answer):
    return [item["item_id"] for item in answer["items"]]


def assert_same_items(given, expected):
    """The same items in the same order, told alike.

    Numbers agree as far as single precision does: how a matrix product rounds depends on how many rows are multiplied
    at once and where they lie in memory.
    """
    for one in (given, expected):
        assert one, "no items: nothing would be compared"
    assert ids({"items": _plain(given)}) == ids({"items": _plain(expected)})
    _assert_alike(_plain(given), _plain(expected))


def _plain(items):
    return [item if isinstance(item, dict) else item.model_dump(mode="json", exclude_none=True) for item in items]


def _assert_alike(given, expected, place="items"):
    if isinstance(expected, dict):
        assert given.keys() == expected.keys(), place
        for name, value in expected.items():
            _assert_alike(given[name], value, f"{place}.{name}")
    elif isinstance(expected, list):
        assert len(given) == len(expected), place
        for number, (one, other) in enumerate(zip(given, expected, strict=True)):
            _assert_alike(one, other, f"{place}.{number}")
    elif isinstance(expected, float):
        assert given == pytest.approx(expected, rel=1e-5, abs=1e-5), place
    else:
        assert given == expected, place
