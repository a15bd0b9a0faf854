"""An app in this process, as a client sees it, over a state of its own."""

import contextlib
import time

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
