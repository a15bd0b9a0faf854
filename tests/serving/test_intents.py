"""What an answer says of how likely each item is and what for, and what happens to who asks for one event type."""

import json
import math
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from recsys.bundle import load_bundle
from serving.app import create_app
from serving.cli import app as command
from serving.client import Client
from serving.opening import open_service
from serving.schemas import HistoryEvent, RecommendRequest
from serving.wishes import Diversity
from tests.serving.asking import assert_problem, assert_same_items, ready, recommend

NOW = 1_703_000_000
ASKED = {"user_id": "顾客3", "requested_at": NOW, "k": 12}


@pytest.fixture(scope="module")
def service(intent_shop):
    return open_service(intent_shop)


@pytest.fixture(scope="module")
def client(service):
    with TestClient(create_app(lambda: service), raise_server_exceptions=False) as client:
        yield ready(client)


def test_every_item_says_how_likely_it_is_and_what_for(client):
    items = recommend(client, **ASKED)["items"]
    assert len(items) == 12
    for item in items:
        assert set(item["intents"]) == {"view", "buy"}
        assert sum(item["intents"].values()) == pytest.approx(0.9 * item["probability"])  # a tenth is neither
    likely = [item["probability"] for item in items]
    assert likely == sorted(likely, reverse=True)


@pytest.mark.parametrize("intent", ["view", "buy"])
def test_an_intent_orders_by_how_likely_it_is(client, intent):
    items = recommend(client, **ASKED, intent=intent)["items"]
    likely = [item["intents"][intent] for item in items]
    assert likely == sorted(likely, reverse=True)
    assert [item["score"] for item in items] == pytest.approx([math.log(one) for one in likely], rel=1e-4)
    plain = {item["item_id"]: item for item in recommend(client, **ASKED | {"k": 40})["items"]}
    assert [item["item_id"] for item in items] != list(plain)[:12]
    for item in items:  # what is said of an item does not depend on what was asked for
        assert plain[item["item_id"]]["intents"] == pytest.approx(item["intents"], rel=1e-5)
        assert plain[item["item_id"]]["probability"] == pytest.approx(item["probability"], rel=1e-5)


def test_requests_of_one_batch_have_each_their_own_intent(service):
    asked = [RecommendRequest(**ASKED, intent=intent) for intent in (None, "buy", "view", "buy")]
    told = [HistoryEvent(item_id="shelf/04", event="buy")]
    asked.append(RecommendRequest(history=told, requested_at=NOW, intent="buy"))
    for request, answer in zip(asked, service.recommend_all(asked), strict=True):
        alone = service.recommend(request)
        assert [item.item_id for item in answer.items] == [item.item_id for item in alone.items]
        assert [item.score for item in answer.items] == pytest.approx([item.score for item in alone.items], abs=1e-4)


def test_what_diversity_moves_takes_its_probabilities_along(service):
    request = RecommendRequest(**ASKED, diversity=Diversity(strength=0.8))
    plain = {item.item_id: item for item in service.recommend(RecommendRequest(**ASKED | {"k": 40})).items}
    moved = service.recommend(request).items
    assert [item.item_id for item in moved] != list(plain)[:12]
    assert all(item.intents == pytest.approx(plain[item.item_id].intents, rel=1e-5) for item in moved)


def test_behind_what_is_reranked_nothing_is_said(service):
    few = replace(service, recommender=replace(service.recommender, num_candidates=5))
    items = few.recommend(RecommendRequest(**ASKED, intent="buy")).items
    assert [item.probability is None for item in items] == [False] * 5 + [True] * 7
    assert [item.intents is None for item in items] == [False] * 5 + [True] * 7
    scores = [item.score for item in items]
    assert scores == sorted(scores, reverse=True)


def test_reasons_say_what_the_intent_adds(service):
    asked = RecommendRequest(**ASKED, explain=True)
    to_buy, at_all = (service.recommend(one).items for one in (asked.model_copy(update={"intent": "buy"}), asked))
    heads = service.bundle.reranker.intents
    usual = 0.9 * float(heads.evidence.usual[heads.names.index("buy")])
    for item in to_buy:
        expected = math.log(item.intents["buy"] / item.probability / usual)
        assert item.reasons.parts["intent"] == pytest.approx(expected, abs=1e-4)
    assert all("intent" not in item.reasons.parts for item in at_all)
    assert any(item.reasons.carried for item in to_buy)


def test_an_unknown_intent_is_a_problem_that_names_those_there_are(client):
    problem = assert_problem(client.post("/v1/recommend", json={**ASKED, "intent": "wish"}), 422)
    (fault,) = problem["errors"]
    assert fault["pointer"] == "#/intent"
    assert fault["detail"] == (
        "'wish' is no intent of this bundle; it knows view, buy. Ask for one of them or leave it out."
    )
    batch = {"requests": [ASKED, {**ASKED, "intent": "x" * 900}]}
    (fault,) = assert_problem(client.post("/v1/recommend/batch", json=batch), 422)["errors"]
    assert fault["pointer"] == "#/requests/1/intent"
    assert len(fault["detail"]) < 250


def test_a_bundle_without_heads_says_so(shop):
    with TestClient(create_app(lambda: open_service(shop))) as client:
        ready(client)
        problem = assert_problem(client.post("/v1/recommend", json={**ASKED, "intent": "buy"}), 422)
        assert "this bundle tells no event types apart" in problem["detail"]
        assert client.get("/v1/model").json()["intents"] == []
        assert all(set(item) == {"item_id", "title", "score"} for item in recommend(client, **ASKED)["items"])


def test_a_stranger_s_intent_is_warned_about(client):
    answer = recommend(client, intent="buy", k=3)
    assert answer["path"] == "popular"
    assert answer["warnings"] == [
        "intent: nothing is known of the user, so the answer is what is popular, whatever for."
    ]
    assert all("probability" not in item for item in answer["items"])


def test_the_model_names_its_intents_and_the_client_reads_them(client):
    typed = Client("http://testserver", http=client)
    assert typed.model().intents == ["view", "buy"]
    answer = typed.recommend(RecommendRequest(**ASKED, intent="buy"))
    assert_same_items(answer.items, recommend(client, **ASKED, intent="buy")["items"])


def test_what_was_bought_is_left_out_and_what_was_viewed_may_come_again(client, service):
    interactions, catalogue = service.bundle.interactions, service.bundle.catalogue
    mine = interactions.of_user(interactions.user_index("顾客3"))
    had = {"view": set(), "buy": set()}
    for item, event in zip(interactions.item_idx[mine], interactions.event[mine], strict=True):
        had[interactions.event_names[event]].add(catalogue.item_ids[item])
    assert had["view"] - had["buy"]
    asked = ASKED | {"k": 40, "intent": "buy"}
    for seen_by, left_out in (
        (["buy"], had["buy"]),
        (["view", "buy"], had["view"] | had["buy"]),
        ([], set()),
        (True, had["view"] | had["buy"]),
        (False, set()),
    ):
        given = {item["item_id"] for item in recommend(client, **asked, exclude_seen=seen_by)["items"]}
        assert set(catalogue.item_ids[1:]) - given == left_out
    problem = assert_problem(client.post("/v1/recommend", json={**ASKED, "exclude_seen": ["buy", "wish"]}), 422)
    assert problem["errors"][0]["pointer"] == "#/exclude_seen/1"
    assert problem["errors"][0]["detail"] == "The bundle's event types are: view, buy (given: 'wish')"


def test_the_command_asks_for_an_intent(intent_shop, service):
    def invoke(*arguments):
        asked = ["recommend", "--bundle", str(intent_shop), "--user", "顾客3", "--requested-at", str(NOW), *arguments]
        return CliRunner().invoke(command, asked, env={"COLUMNS": "120"})

    answer = json.loads(invoke("--intent", "buy", "-k", "12", "--json").stdout)
    expected = service.recommend(RecommendRequest(**ASKED, intent="buy"))
    assert_same_items(answer["items"], expected.items)
    table = invoke("--intent", "buy", "-k", "3").stdout
    assert "probability" in table
    assert f"{expected.items[0].intents['buy']:.4f}" in table
    answer = json.loads(invoke("--seen-by", "buy", "-k", "12", "--json").stdout)
    expected = service.recommend(RecommendRequest(**ASKED, exclude_seen=["buy"]))
    assert_same_items(answer["items"], expected.items)
    refused = invoke("--intent", "wish")
    assert refused.exit_code == 2
    assert "--intent: 'wish' is no intent of this bundle; it knows view, buy." in refused.stderr
    assert "Traceback" not in refused.stderr
    refused = CliRunner().invoke(command, ["evaluate", "--bundle", str(intent_shop), "--seen-by", "wish"])
    assert refused.exit_code == 2
    assert "no event type 'wish'; they have view, buy." in refused.stderr


def test_the_bundle_keeps_its_heads(intent_shop):
    assert load_bundle(intent_shop).intents == ("view", "buy")
