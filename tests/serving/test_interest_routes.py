"""GET /v1/users/{id}/interests: the same as from Python, with what was stored since, and nothing of who was deleted."""

import shutil

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter

from recsys.bundle import load_bundle
from recsys.interest_classifier import InterestForecast, save_classifier
from recsys.interest_head import HeadConfig
from recsys.interest_training import train_interest_classifier
from recsys.interests import UserInterests, interests_of
from serving.app import create_app
from serving.opening import open_service
from tests.serving.test_app import assert_problem, ready

LATER = 1_703_000_000


@pytest.fixture
def client(shop):
    with TestClient(create_app(lambda: open_service(shop)), raise_server_exceptions=False) as client:
        yield ready(client)


def ask(client, user_id, **query):
    return client.get(f"/v1/users/{user_id}/interests", params={"requested_at": LATER} | query)


def test_it_tells_what_the_bundle_tells(client, bundle):
    answer = ask(client, "顾客3").json()
    assert TypeAdapter(UserInterests).validate_python(answer["interests"]) == interests_of(bundle, "顾客3")
    assert (answer["requested_at"], answer["model"]) == (LATER, bundle.fingerprint)


def test_what_was_stored_since_counts_and_what_comes_later_does_not(client, bundle):
    before = ask(client, "顾客3").json()["interests"]
    event = {"user_id": "顾客3", "item_id": "shelf/07", "occurred_at": LATER - 10, "event": "view"}
    assert client.post("/v1/events", json=event).status_code == 200
    after = ask(client, "顾客3").json()["interests"]
    assert after["events"] == before["events"] + 1
    assert after["newest_at"] == LATER - 10
    assert ask(client, "顾客3", requested_at=LATER - 20).json()["interests"] == before


def test_of_a_deleted_user_nothing_is_told(client):
    assert client.delete("/v1/users/顾客4").status_code == 200
    problem = assert_problem(ask(client, "顾客4"), 404)
    assert problem["type"] == "urn:problem-type:recsys:unknown-user"
    assert "'顾客4'" in problem["detail"]


def test_nobody_and_bad_instants_are_problems(client):
    assert "'路人'" in assert_problem(ask(client, "路人"), 404)["detail"]
    assert_problem(ask(client, "顾客3", requested_at=5), 404)
    assert "milliseconds" in assert_problem(ask(client, "顾客3", requested_at=LATER * 1000), 422)["detail"]
    assert_problem(ask(client, "顾客3", requested_at="now"), 422)


def test_docs_describe_every_member(client):
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for name in ("UserInterests", "InterestState", "Change", "Window"):
        undescribed = {field for field, its in schemas[name]["properties"].items() if not its.get("description")}
        assert undescribed <= {"name", "user_id", "events", "stratum"}, name


def test_with_a_classifier_it_tells_what_is_expected_as_python_does(shop, tmp_path):
    folder = shutil.copytree(shop, tmp_path / "shop")
    bundle = load_bundle(folder)
    trained = train_interest_classifier(bundle, config=HeadConfig(passes=1, fewest_steps=200, checks=4))
    save_classifier(trained.classifier, folder)
    forecast = InterestForecast.of(bundle, trained.reader.taxonomy, trained.classifier)
    with TestClient(create_app(lambda: open_service(folder))) as client:
        answer = ask(ready(client), "顾客3").json()["interests"]
    told = interests_of(bundle, "顾客3", at=LATER, forecast=forecast)
    assert answer["horizon"] == told.horizon == "the next event"
    assert [one["name"] for one in answer["expected"]] == [one.name for one in told.expected]
    for ours, theirs in zip(answer["expected"], told.expected, strict=True):
        assert ours["probability"] == pytest.approx(theirs.probability, abs=1e-4)
