import dataclasses
import json
import re
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import InputError
from serving.app import create_app
from serving.schemas import HistoryEvent, RecommendRequest
from tests.serving.asking import assert_same_items

PROBLEM = "application/problem+json"


def ready(client):
    """Wait until the app answers."""
    for _ in range(1_000):
        if client.get("/readyz").status_code == 200:
            return client
        time.sleep(0.01)
    raise AssertionError(client.get("/readyz").text)


@pytest.fixture(scope="module")
def client(service):
    with TestClient(create_app(lambda: service), raise_server_exceptions=False) as client:
        yield ready(client)


def post(client, **request):
    return client.post("/v1/recommend", json=request)


def assert_problem(response, status):
    """A problem document with every member that RFC 9457 names, and no more than it should tell."""
    assert response.status_code == status
    assert response.headers["content-type"] == PROBLEM
    problem = response.json()
    assert problem["status"] == status
    assert {"type", "title", "detail", "instance"} <= set(problem)
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize(
    ("path", "request_"),
    [
        ("personal", {"user_id": "顾客3", "requested_at": 1_702_000_000}),
        ("history", {"history": [{"item_id": "shelf/01"}, {"item_id": "shelf/02", "event": "buy", "value": 3}]}),
        ("personal", {"user_id": "顾客3", "history": [{"item_id": "shelf/30", "occurred_at": 1_702_000_000}]}),
        ("popular", {"user_id": "nobody"}),
        ("popular", {}),
    ],
)
def test_each_path_answers_as_the_service_does(client, service, path, request_):
    request_ = {"requested_at": 1_703_000_000, "k": 7} | request_
    response = post(client, **request_)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert answer["path"] == path
    expected = service.recommend(RecommendRequest.model_validate_json(json.dumps(request_)))
    for member in ("items", "model", "requested_at", "warnings"):
        assert answer[member] == expected.model_dump(exclude_none=True, mode="json")[member]
    assert len(answer["items"]) == 7
    assert "timings_ms" in answer


def test_chinese_survives_the_journey(client):
    item = post(client, user_id="顾客3", k=1).json()["items"][0]
    number = int(item["item_id"].removeprefix("shelf/"))
    assert item["title"] == f"第{number}号 茶 ☕"


def test_reasons_stand_only_where_they_were_asked_for(client):
    asked = {"history": [{"item_id": "shelf/04"}, {"item_id": "shelf/05"}], "k": 2}
    assert all("reasons" not in item for item in post(client, **asked).json()["items"])
    for item in post(client, **asked, explain=True).json()["items"]:
        assert set(item["reasons"]) == {"cosine", "prior", "carried", "followed", "alike", "interests", "parts"}


@pytest.mark.parametrize(
    ("request_", "pointer", "words"),
    [
        ({"k": 0}, "#/k", "greater than or equal to 1 (given: 0)"),
        ({"k": 1_001}, "#/k", "less than or equal to 1000 (given: 1001)"),
        ({"k": "5"}, "#/k", "valid integer (given: '5')"),
        ({"k": True}, "#/k", "valid integer"),
        ({"wish/list~": 1}, "#/wish~1list~0", "no such field"),
        ({"user_id": 3}, "#/user_id", "valid string (given: 3)"),
        ({"user_id": ""}, "#/user_id", "at least 1 character"),
        ({"user_id": "茶" * 1_001}, "#/user_id", "at most 1000 characters (given: '茶茶"),
        ({"requested_at": -1}, "#/requested_at", "greater than or equal to 0"),
        ({"requested_at": 1_700_000_000_000}, "#/requested_at", "looks like milliseconds"),
        ({"history": [{"item_id": "shelf/01"}, {}]}, "#/history/1/item_id", "required"),
        ({"history": [{"item_id": "a", "occurred_at": 1.5}]}, "#/history/0/occurred_at", "valid integer"),
        ({"history": [{"item_id": "a", "value": 1e300}]}, "#/history/0/value", "less than or equal to"),
        ({"history": [{"item_id": "a"}] * 10_001}, "#/history", "at most 10000 items"),
        ({"history": "shelf/01"}, "#/history", "valid list"),
    ],
)
def test_a_bad_request_names_place_and_value(client, request_, pointer, words):
    problem = assert_problem(post(client, **request_), 422)
    assert problem["type"] == "urn:problem-type:recsys:invalid-request"
    assert problem["instance"] == "/v1/recommend"
    (fault,) = problem["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]
    assert f"{pointer}: {fault['detail']}" in problem["detail"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_none_is_refused_and_not_echoed_as_json(client, value):
    body = '{"history": [{"item_id": "shelf/01", "value": VALUE}]}'.replace("VALUE", value)
    response = client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    problem = assert_problem(response, 422)
    assert problem["errors"][0]["pointer"] == "#/history/0/value"
    assert "finite" in problem["errors"][0]["detail"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"k": ', 400, "not JSON: Expecting value at character 6"),
        (b'{"user_id": "\xff"}', 400, "UTF-8"),
        (b"[" * 100_000, 400, "cannot be read"),
        (b"[]", 422, "valid dictionary"),
        (b"", 422, "required"),
        (b'{"user_id": "\\ud800"}', 422, "unicode"),
        (b'{"\\ud800": 1}', 422, ""),
    ],
)
def test_a_body_that_is_no_request_is_refused(client, body, status, words):
    response = client.post("/v1/recommend", content=body, headers={"content-type": "application/json"})
    assert words in assert_problem(response, status)["detail"]


def test_a_body_that_is_not_called_json_is_told_so(client):
    response = client.post("/v1/recommend", content=b'{"k": 3}', headers={"content-type": "text/plain"})
    assert "content-type: application/json" in assert_problem(response, 422)["detail"]


names = st.sampled_from(["顾客3", "shelf/01", "shelf/02", "shelf/39", "view", "buy"]) | st.text(
    st.characters(codec="utf-8"), min_size=1, max_size=4
)
instants = st.integers(0, 2**31) | st.just(1_701_000_000) | st.none()


def bodies(names, instants, values, counts):
    """Requests with any of the fields there are."""
    event = st.fixed_dictionaries(
        {"item_id": names}, optional={"occurred_at": instants, "event": names, "value": values}
    )
    fields = {"user_id": names, "history": st.lists(event, max_size=3), "k": counts, "requested_at": instants}
    return st.fixed_dictionaries({}, optional=fields | {"exclude_seen": st.booleans(), "explain": st.booleans()})


def post_content(client, body):
    content = json.dumps(body)  # nan and infinities as Python writes them
    return client.post("/v1/recommend", content=content, headers={"content-type": "application/json"})


@settings(max_examples=150, deadline=None, derandomize=True)
@given(body=bodies(names, instants, st.none() | st.floats(-1e9, 1e9), st.integers(1, 50)))
def test_every_valid_request_is_answered_in_order_and_without_repeats(client, body):
    response = post_content(client, body)
    assert response.status_code == 200
    answer = json.loads(response.content, parse_constant=lambda constant: pytest.fail(constant))
    offered = [item["item_id"] for item in answer["items"]]
    assert len(offered) == len(set(offered)) <= body.get("k", 10)
    assert all(item["score"] >= after["score"] for item, after in pairwise(answer["items"]))


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.lists(names, max_size=2)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(body=bodies(names | anything, instants | anything, anything, st.integers(1, 50) | anything))
def test_whatever_comes_is_answered_or_refused(client, body):
    response = post_content(client, body)
    if response.status_code != 200:
        assert_problem(response, 422)


def test_similar_items(client, service):
    answer = client.get("/v1/items/shelf%2F05/similar", params={"k": 4}).json()
    assert answer == service.similar("shelf/05", k=4).model_dump()
    assert len(answer["items"]) == 4
    assert_same_items(client.get("/v1/items/shelf/05/similar").json()["items"][:4], answer["items"])


def test_similar_to_an_unknown_item_names_it(client):
    problem = assert_problem(client.get("/v1/items/绿茶/similar"), 404)
    assert problem["type"] == "urn:problem-type:recsys:unknown-item"
    assert "'绿茶'" in problem["detail"]


@pytest.mark.parametrize("k", ["0", "1001", "many"])
def test_similar_wants_a_sensible_k(client, k):
    problem = assert_problem(client.get("/v1/items/shelf/05/similar", params={"k": k}), 422)
    assert problem["errors"][0]["parameter"] == "k"
    assert f"(given: '{k}')" in problem["detail"]


def test_model_says_what_is_served(client, service):
    assert client.get("/v1/model").json() == service.describe().model_dump(mode="json", exclude_none=True)


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/nothing", 404), ("GET", "/v1/recommend", 405)])
def test_a_wrong_address_is_a_problem_too(client, method, path, status):
    problem = assert_problem(client.request(method, path), status)
    assert problem["instance"] == path
    assert "/docs" in problem["detail"]


def test_docs_need_nothing_from_elsewhere(client):
    page = client.get("/docs").text
    assert re.findall(r"https?://[^\s\"']+", page) == []
    script, style = re.search(r'src="(.+?)"', page)[1], re.search(r'rel="stylesheet" href="(.+?)"', page)[1]
    assert "SwaggerUIBundle" in client.get(script).text
    assert client.get(script).headers["content-type"].startswith("text/javascript")
    assert ".swagger-ui" in client.get(style).text
    assert "url: '/openapi.json'" in page
    behind_a_proxy = TestClient(client.app, root_path="/films/").get("/docs").text
    assert "url: '/films/openapi.json'" in behind_a_proxy
    assert f'src="/films{script}"' in behind_a_proxy


def test_docs_describe_the_problems(client):
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "200" in operation["responses"], path
            for status, response in operation["responses"].items():
                media_types = list(response["content"])
                answered = ["text/plain" if path == "/metrics" else "application/json"]
                assert media_types == ([PROBLEM] if int(status) >= 400 else answered), path
    answers = document["paths"]["/v1/recommend"]["post"]["responses"]
    assert set(answers) == {"200", "400", "401", "403", "408", "413", "414", "422", "429", "431", "503"}
    assert answers["422"]["content"][PROBLEM]["schema"] == {"$ref": "#/components/schemas/Problem"}
    assert "Problem" in document["components"]["schemas"]
    request = document["components"]["schemas"]["RecommendRequest"]
    assert all(RecommendRequest.model_validate(example) for example in request["examples"])
    assert all(field.get("description") for field in request["properties"].values())


def test_before_the_bundle_is_loaded_only_health_answers(service):
    loaded = threading.Event()

    def load():
        loaded.wait(timeout=30)
        return service

    with TestClient(create_app(load)) as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        for response in (client.get("/readyz"), post(client, k=3), client.get("/v1/model")):
            assert "being loaded" in assert_problem(response, 503)["detail"]
            assert response.headers["retry-after"] == "1"
        loaded.set()
        ready(client)
        assert client.get("/readyz").json() == {"status": "ok"}
        assert post(client, k=3).status_code == 200


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (InputError("runs/films: no bundle here. Make one."), "runs/films: no bundle here. Make one."),
        (MemoryError("secret address"), "could not be loaded: MemoryError"),
    ],
)
def test_a_bundle_that_cannot_be_loaded_leaves_the_reason_at_readyz(failure, words, caplog):
    def load():
        raise failure

    with TestClient(create_app(load)) as client:
        for _ in range(1_000):
            response = client.get("/readyz")
            if "retry-after" not in response.headers:
                break
            time.sleep(0.01)
        problem = assert_problem(response, 503)
        assert "retry-after" not in response.headers  # asking again will not help
        assert words in problem["detail"]
        assert "secret" not in response.text
        assert_problem(post(client, k=3), 503)
        assert client.get("/healthz").status_code == 200
    assert str(failure) in caplog.text  # the log says more than the answer


def slowed(service, search):
    return dataclasses.replace(service, recommender=dataclasses.replace(service.recommender, search=search))


def test_the_loop_stays_free_while_the_model_works(service):
    searching, may_go_on = threading.Event(), threading.Event()

    def slow_search(vectors, k):
        searching.set()
        may_go_on.wait(timeout=30)
        return service.index.search(vectors, k)

    with TestClient(create_app(lambda: slowed(service, slow_search))) as client:
        answers = []
        request = threading.Thread(target=lambda: answers.append(post(ready(client), user_id="顾客1")))
        request.start()
        assert searching.wait(timeout=30)
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        assert not answers
        may_go_on.set()
        request.join(timeout=30)
        assert answers[0].status_code == 200


def test_what_breaks_inside_is_a_problem_without_its_traceback(service):
    def broken_search(vectors, k):
        raise ZeroDivisionError("a secret of the house")

    app = create_app(lambda: slowed(service, broken_search))
    with TestClient(app, raise_server_exceptions=False) as client:
        ready(client)
        response = post(client, user_id="顾客1")
        problem = assert_problem(response, 500)
        assert "log" in problem["detail"]
        assert "secret" not in response.text
        assert post(client).status_code == 200  # what does not search goes on


def same_ranking(given, expected):
    """Together with others the same sums are taken in another order, so the last digit of a score may differ."""

    def named(items):
        return [(item["item_id"], item["title"]) for item in items]

    scores = [[item["score"] for item in items] for items in (given, expected)]
    return named(given) == named(expected) and np.allclose(*scores, atol=1e-4)


def test_many_at_once_are_never_mixed(client, service):
    """Eight callers, each with users of their own: every answer is the one that user gets alone."""
    requests = [{"user_id": f"顾客{user}", "requested_at": 1_703_000_000, "k": 5} for user in range(16)]
    requests += [{"history": [{"item_id": f"shelf/{n:02}"}], "requested_at": 1_703_000_000} for n in range(16)]
    expected = [
        service.recommend(RecommendRequest.model_validate_json(json.dumps(request))).model_dump(
            mode="json", include={"items": {"__all__": {"item_id", "score", "title"}}}
        )["items"]
        for request in requests
    ]
    assert len({json.dumps(items) for items in expected}) > 20
    wrong = []

    def call(mine):
        for _ in range(4):
            for which in mine:
                items = post(client, **requests[which]).json()["items"]
                if not same_ranking(items, expected[which]):
                    wrong.append((which, items))

    callers = [threading.Thread(target=call, args=(range(first, len(requests), 8),)) for first in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert not wrong


def test_a_history_event_may_be_bare():
    bare = HistoryEvent(item_id="x").model_dump()
    assert bare.pop("item_id") == "x"
    assert set(bare.values()) == {None}
