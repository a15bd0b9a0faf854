import json

import numpy as np
import pytest

from serving.item_schemas import ItemBody
from serving.live_items import ROOM
from serving.opening import open_service
from serving.runtimes import with_quickest_tower
from serving.schemas import HistoryEvent, RecommendRequest
from serving.settings import TowerSettings
from serving.state import open_state
from tests.serving.asking import assert_problem, assert_same_items, ids, recommend, serving

LATER = 1_703_000_000
CUP = {"title": "新茶杯 ☕", "categories": ["odd", "cups"], "numbers": {"price": 12.5}}


@pytest.fixture
def client(shop, tmp_path):
    with serving(shop, tmp_path / "state") as client:
        yield client


def put(client, item_id, body):
    return client.put(f"/v1/items/{item_id}", json=body)


def done(response):
    assert response.status_code == 200, response.text
    return response.json()


def everything(client, **request):
    return recommend(client, user_id="顾客3", k=1_000, exclude_seen=False, requested_at=LATER, **request)


def test_a_put_item_is_in_the_next_answer_by_every_path_and_gone_when_removed(client):
    assert "cup" not in ids(everything(client))
    answer = done(put(client, "cup", CUP))
    assert (answer["item_id"], answer["was"]) == ("cup", "new")
    assert answer["warnings"] == ["categories: 'cups' came after training; filters and texts use them."]
    found = [item for item in everything(client)["items"] if item["item_id"] == "cup"]
    assert [item["title"] for item in found] == ["新茶杯 ☕"]
    assert len(ids(everything(client))) == 41
    strangers = recommend(client, k=1_000)
    assert strangers["path"] == "popular"
    assert ids(strangers)[-1] == "cup"
    assert "cup" in ids(recommend(client, history=[{"item_id": "shelf/02"}], k=1_000))
    assert "cup" in ids(client.get("/v1/items/shelf/05/similar", params={"k": 40}).json())
    assert len(ids(client.get("/v1/items/cup/similar", params={"k": 40}).json())) == 40

    assert done(client.delete("/v1/items/cup"))["item_id"] == "cup"
    assert len(ids(everything(client))) == 40
    assert "cup" not in ids(recommend(client, k=1_000))
    assert "cup" not in ids(client.get("/v1/items/shelf/05/similar", params={"k": 40}).json())
    assert "'cup'" in assert_problem(client.get("/v1/items/cup/similar"), 404)["detail"]
    assert_problem(client.delete("/v1/items/cup"), 404)


def test_a_name_with_slashes_and_line_ends_is_put_found_and_removed(client):
    address, name = "/v1/items/cups%2Ftwo%0Alines%0A", "cups/two\nlines\n"
    assert done(client.put(address, json=CUP))["item_id"] == name
    assert name in ids(everything(client))
    assert done(client.get(f"{address}/similar"))["item_id"] == name
    assert done(client.delete(address))["item_id"] == name


def test_filters_see_a_put_item(client):
    done(put(client, "cup", CUP))
    assert ids(everything(client, filters={"any_of": ["cups"]})) == ["cup"]
    assert ids(everything(client, filters={"ranges": {"price": {"min": 12.25, "max": 12.75}}})) == ["cup"]
    assert ids(everything(client, filters={"allow": ["cup", "shelf/03"], "none_of": ["cups"]})) == ["shelf/03"]
    assert "cup" not in ids(everything(client, filters={"deny": ["cup"]}))
    assert len(ids(everything(client, filters={"all_of": ["odd"]}))) == 21
    stranger = recommend(client, k=5, filters={"any_of": ["cups"]})
    assert (stranger["path"], ids(stranger)) == ("popular", ["cup"])
    done(put(client, "cup", {"title": "cup", "categories": ["even"]}))  # whole: the price is unknown now
    assert ids(everything(client, filters={"any_of": ["cups"]})) == []
    assert "cup" not in ids(everything(client, filters={"ranges": {"price": {"min": -1e9}}}))


def test_a_put_item_in_a_history_is_seen_named_and_moves_the_answer(client, service):
    before = everything(client)
    done(put(client, "cup", CUP))
    history = [{"item_id": "shelf/04"}, {"item_id": "cup"}]
    answer = recommend(client, history=history, k=1_000, explain=True)
    assert answer["warnings"][0].startswith("k: 39 items instead of 1000")
    assert not {"cup", "shelf/04"} & set(ids(answer))
    alike = {one["item_id"] for item in answer["items"] for one in item["reasons"]["alike"]}
    assert alike <= {"cup", "shelf/04"}
    assert "cup" in alike  # the nearest of the history to something
    # The prior asks 04, a step back, and nothing of the cup.
    followed = {one["item_id"] for item in answer["items"] for one in item["reasons"]["followed"]}
    assert followed == {"shelf/04"}
    alone = recommend(client, history=history[:1], k=1_000)
    assert [item["score"] for item in alone["items"]] != [item["score"] for item in answer["items"]]
    # It can be explained, too, as an item that never followed anything.
    (cup,) = [item for item in everything(client, explain=True)["items"] if item["item_id"] == "cup"]
    assert cup["reasons"]["followed"] == []
    weight, temperature = service.bundle.prior.weight, service.bundle.prior.temperature
    assert weight > 0
    assert cup["reasons"]["cosine"] / temperature + cup["reasons"]["prior"] == pytest.approx(cup["score"], abs=1e-4)
    assert [item for item in ids(everything(client)) if item != "cup"] == ids(before)


def test_stored_events_count_as_soon_as_their_item_is_there(client):
    client.post("/v1/events", json={"user_id": "ann", "item_id": "cup"})
    assert recommend(client, user_id="ann")["path"] == "popular"
    done(put(client, "cup", CUP))
    answer = recommend(client, user_id="ann", k=1_000)
    assert answer["path"] == "personal"
    assert "cup" not in ids(answer)
    done(client.delete("/v1/items/cup"))
    assert recommend(client, user_id="ann")["path"] == "popular"


def test_an_item_of_the_bundle_can_be_removed_and_put_back(client, service):
    history = [{"item_id": "shelf/04"}, {"item_id": "shelf/05"}]
    before = recommend(client, history=history, k=1_000, requested_at=LATER, explain=True)
    assert "shelf/06" in ids(before)
    done(client.delete("/v1/items/shelf/06"))
    done(client.delete("/v1/items/shelf/05"))
    after = recommend(client, history=history, k=1_000, requested_at=LATER, explain=True)
    # The history goes on to hold 05, so the other scores stay; but it is not named.
    scores = {item["item_id"]: item["score"] for item in before["items"]}
    assert {item["item_id"]: item["score"] for item in after["items"]} == pytest.approx(
        {item_id: score for item_id, score in scores.items() if item_id != "shelf/06"}, abs=1e-4
    )
    assert "shelf/05" not in json.dumps(after)
    assert "shelf/06" not in ids(recommend(client, k=1_000))
    assert_problem(client.get("/v1/items/shelf/06/similar"), 404)
    kept = {"title": "第6号 茶 ☕", "categories": ["even"], "numbers": {"price": 6.0}}
    assert done(put(client, "shelf/06", kept))["was"] == "new"
    assert client.get("/v1/items/shelf/06/similar").status_code == 200
    again = recommend(client, history=history, k=1_000, requested_at=LATER)
    assert {item["item_id"]: item["score"] for item in again["items"]} == pytest.approx(scores, abs=1e-3)


def test_a_replaced_item_keeps_its_number_and_what_was_learnt_of_it(client, service):
    """Told exactly what the bundle knows, it stays where it was; told otherwise, it moves and is called otherwise."""
    asked = {"history": [{"item_id": "shelf/06"}], "k": 1_000, "requested_at": LATER}
    before = recommend(client, **asked)
    same = {"title": "第6号 茶 ☕", "categories": ["even"], "numbers": {"price": 6.0}}
    assert done(put(client, "shelf/06", same))["was"] == "known"
    assert [item["score"] for item in recommend(client, **asked)["items"]] == pytest.approx(
        [item["score"] for item in before["items"]], abs=1e-4
    )
    done(put(client, "shelf/06", {"title": "另一种", "categories": ["odd"], "numbers": {"price": 99.0}}))
    answer = recommend(client, **asked)  # it is in the history: a vector that was remembered would be an old one
    assert [item["score"] for item in answer["items"]] != pytest.approx(
        [item["score"] for item in before["items"]], abs=1e-4
    )
    (item,) = [item for item in everything(client)["items"] if item["item_id"] == "shelf/06"]
    assert item["title"] == "另一种"
    assert client.get("/v1/items/shelf/06/similar").json()["title"] == "另一种"
    assert "shelf/06" in ids(everything(client, filters={"any_of": ["odd"]}))
    assert "shelf/06" not in ids(everything(client, filters={"any_of": ["even"]}))


def test_a_user_vector_that_is_remembered_does_not_outlive_an_items(shop, tmp_path):
    state = open_state(tmp_path / "state")
    service = with_quickest_tower(open_service(shop, state=state), shop, TowerSettings())
    request = RecommendRequest(history=[HistoryEvent(item_id="shelf/06")], requested_at=LATER, k=40)
    before = [service.recommend(request).items for _ in range(2)][1]
    assert len(service.encode._kept) == 1
    state.items.put("shelf/06", ItemBody(categories=["odd"], numbers={"price": 99.0}).document(), None)
    after = service.recommend(request).items
    assert after != before
    assert_same_items(after, open_service(shop, state=state).recommend(request).items)
    state.items.remove("shelf/06")
    scores = {item.item_id: item.score for item in service.recommend(request).items}
    assert scores == pytest.approx({item.item_id: item.score for item in before}, abs=1e-5)  # as it was trained
    state.close()


def test_everything_is_there_after_a_restart_and_under_another_bundle(shop, other_shop, tmp_path):
    with serving(shop, tmp_path / "state") as client:
        for name in ("gone", "cup", "pot"):
            done(put(client, name, {**CUP, "title": name}))
        done(client.delete("/v1/items/gone"))
        done(client.delete("/v1/items/shelf/07"))
        done(put(client, "shelf/08", {"title": "renamed", "categories": ["even"]}))
        before = everything(client)
    with serving(shop, tmp_path / "state") as client:
        after = everything(client)
        assert_same_items(after["items"], before["items"])
        done(put(client, "gone", CUP))  # its old number, which nobody else was given
        assert len(ids(everything(client))) == 42
    with serving(other_shop, tmp_path / "state") as client:
        answer = everything(client)
        assert answer["model"] != before["model"]
        assert set(ids(answer)) == {*ids(before), "gone"}
        assert next(item["title"] for item in answer["items"] if item["item_id"] == "shelf/08") == "renamed"
        client.post("/v1/events", json={"user_id": "ann", "item_id": "pot"})
        assert recommend(client, user_id="ann")["path"] == "personal"


def test_two_workers_over_one_state_see_each_others_items_and_events(shop, tmp_path):
    with serving(shop, tmp_path / "state") as one, serving(shop, tmp_path / "state") as other:
        done(put(one, "cup", CUP))
        assert "cup" in ids(everything(other))
        done(other.delete("/v1/items/cup"))
        assert "cup" not in ids(everything(one))
        one.post("/v1/events", json={"user_id": "ann", "item_id": "shelf/01"})
        assert recommend(other, user_id="ann")["path"] == "personal"
        other.delete("/v1/users/ann")
        assert recommend(one, user_id="ann")["path"] == "popular"


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"numbers": {"weight": 3}}, "#/numbers/weight", "numeric columns are: price (given: 3"),
        ({"numbers": {"price": "3"}}, "#/numbers/price", "valid number"),
        ({"vector": [1.0, 2.0]}, "#/vector", "Expected no vector"),
        ({"title": 3}, "#/title", "valid string"),
        ({"categories": "tea"}, "#/categories", "valid list"),
        ({"categories": [""]}, "#/categories/0", "at least 1 character"),
        ({"kind": "tea"}, "#/kind", "no such field"),
    ],
)
def test_a_bad_item_names_place_and_value(client, body, pointer, words):
    (fault,) = assert_problem(put(client, "cup", body), 422)["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]


def test_an_item_of_which_nothing_is_told_is_warned_about(client):
    assert "nothing is told" in done(put(client, "blank", {}))["warnings"][0]
    assert "blank" in ids(everything(client))


def test_live_items_are_numbered_beyond_the_bundles_and_never_twice(shop, tmp_path):
    """Inside: what histories, masks and the prior are given."""
    state = open_state(tmp_path / "state")
    document = ItemBody.model_validate(CUP).document()
    for name in ("a", "b"):
        state.items.put(name, document, None)
    service = open_service(shop, state=state)
    assert [service.items.index_of(name) for name in "ab"] == [41, 42]
    state.items.remove("b")
    state.items.put("c", document, None)
    service.take_in()
    assert [service.items.index_of(name) for name in "abc"] == [41, 0, 43]
    assert len(service.items) == len(service.index) == 42
    np.testing.assert_array_equal(service.items.vectors[41], service.items.vectors[43])
    np.testing.assert_allclose(np.linalg.norm(service.items.vectors[41]), 1, rtol=1e-5)
    np.testing.assert_allclose(service.index.vectors_of([43])[0], service.items.vectors[43], rtol=1e-6)
    assert len(service.items.vectors) > 41 + ROOM
    state.close()
