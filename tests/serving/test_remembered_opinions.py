"""What the reranker's towers say of a history is remembered, and never longer than it is true."""

from contextlib import closing

import pytest

import recsys.opinions
from serving.item_schemas import ItemBody
from serving.onnx_export import history_sample
from serving.opening import open_service
from serving.runtimes import with_quickest_tower
from serving.schemas import HistoryEvent, RecommendRequest
from serving.settings import TowerSettings
from serving.state import open_state
from tests.serving.asking import assert_same_items

NOW = 1_703_000_000
KNOWN = RecommendRequest(user_id="顾客3", requested_at=NOW)


@pytest.fixture(autouse=True)
def short_lately(monkeypatch):
    """Histories here have nine events, and are to have a lately all the same."""
    monkeypatch.setattr(recsys.opinions, "LATELY", 4)


@pytest.fixture
def state(tmp_path):
    with closing(open_state(tmp_path / "state")) as state:
        yield state


@pytest.fixture
def plain(intent_shop, state):
    """Works out every answer anew."""
    return open_service(intent_shop, state=state)


@pytest.fixture
def quick(intent_shop, state):
    return with_quickest_tower(open_service(intent_shop, state=state), intent_shop, TowerSettings())


def told(*events):
    return RecommendRequest(history=[HistoryEvent(**event) for event in events], requested_at=NOW, k=40)


def test_a_history_is_read_once(quick, plain):
    for _ in range(3):
        assert_same_items(quick.recommend(KNOWN).items, plain.recommend(KNOWN).items)
    assert quick.opinions.take_counts() == {"hit": 2, "miss": 1}
    said = quick.opinions(history_sample(quick.bundle, most=8))
    assert said.shape == (8, 3, 16)
    assert said.any(2).all()  # all three have something to say, or nothing would be tried here


def test_each_request_of_a_batch_has_its_own(quick, plain):
    asked = [RecommendRequest(user_id=f"顾客{one}", requested_at=NOW) for one in (3, 5, 3, 8)]
    quick.recommend(asked[1])
    for given, request in zip(quick.recommend_all(asked), asked, strict=True):
        assert_same_items(given.items, plain.recommend(request).items)
    assert quick.opinions.take_counts() == {"hit": 1, "miss": 1 + 3}


def test_it_does_not_outlive_the_vector_of_an_item_in_it(quick, plain, state):
    request = told(*({"item_id": f"shelf/{one:02}"} for one in (1, 2, 3, 4, 5, 6)))
    before = quick.recommend(request).items
    state.items.put("shelf/06", ItemBody(categories=["odd"], numbers={"price": 99.0}).document(), None)
    after = quick.recommend(request).items
    assert after != before
    assert_same_items(after, plain.recommend(request).items)


def test_of_items_that_a_request_brings_nothing_is_remembered(quick, plain):
    """Two of them bear the same number, one after the other."""
    past = [{"item_id": f"shelf/{one:02}"} for one in (1, 2, 3, 4)]
    scores = []
    for body in (
        {"categories": ["odd"], "numbers": {"price": 1.0}},
        {"categories": ["even"], "numbers": {"price": 9.0}},
    ):
        request = told(*past, {"item_id": "mine", "item": body})
        given = quick.recommend(request).items
        assert_same_items(given, plain.recommend(request).items)
        scores.append({item.item_id: item.score for item in given})
    assert scores[0] != scores[1]
    assert quick.opinions.take_counts() == {"hit": 0, "miss": 0}


def test_reasons_are_not_kept(quick, plain):
    """A history is tried without each of its events, which nobody asks for again."""
    request = KNOWN.model_copy(update={"explain": True})
    assert_same_items(quick.recommend(request).items, plain.recommend(request).items)
    assert quick.opinions.take_counts() == {"hit": 0, "miss": 1}
