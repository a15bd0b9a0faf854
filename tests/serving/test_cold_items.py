"""What only an item's text or vector can tell: the right kind of user must be offered it at once."""

from collections import Counter

import numpy as np
import pytest

from recsys.bundle import load_bundle
from serving.cold_items import ColdItems
from serving.item_store import ItemDocument, TextVector
from serving.refusals import RefusedError, UnavailableError
from serving.text_reader import TextReader
from tests.serving.asking import assert_problem, ids, recommend, serving
from tests.serving.conftest import KINDS

ALL = {"k": 1_000, "exclude_seen": False}


@pytest.fixture(scope="module")
def kinds(kinds_shop):
    return load_bundle(kinds_shop)


@pytest.fixture
def cold(kinds, tmp_path):
    return ColdItems(kinds, TextReader(kinds.config.item_tower.encoder, cache=tmp_path))


@pytest.fixture
def client(kinds_shop, tmp_path):
    with serving(kinds_shop, tmp_path / "state") as client:
        yield client


def put(client, item_id, **body):
    response = client.put(f"/v1/items/{item_id}", json=body)
    assert response.status_code == 200, response.text


def usual_kind(item_ids):
    """Of most of the bundle's items among them: the encoder of tests is no great reader."""
    kinds = Counter(int(item_id.removeprefix("i")) % 3 for item_id in item_ids if item_id.startswith("i"))
    return kinds.most_common(1)[0][0]


@pytest.mark.parametrize("told", ["title", "vector"])
def test_who_loves_a_kind_is_offered_a_new_thing_of_that_kind_first(client, told):
    """Of three new things only the text, or only the vector, tells whom each suits."""
    for kind, title in enumerate(KINDS):
        put(client, f"new{kind}", **({"title": title} if told == "title" else {"vector": np.eye(3)[kind].tolist()}))
    for kind in range(3):
        history = [{"item_id": f"i{kind + 3 * step}"} for step in range(5)]
        order = [item for item in ids(recommend(client, history=history, **ALL)) if item.startswith("new")]
        assert order[0] == f"new{kind}"
        nearest = ids(client.get(f"/v1/items/new{kind}/similar", params={"k": 5}).json())
        assert usual_kind(nearest) == kind


@pytest.mark.parametrize("told", ["title", "vector"])
def test_a_thing_nobody_knows_that_a_request_tells_of_speaks_for_its_kind(client, told):
    for kind, title in enumerate(KINDS):
        item = {"title": title} if told == "title" else {"vector": np.eye(3)[kind].tolist()}
        history = [{"item_id": f"mine {step}", "item": item} for step in range(3)]
        answer = recommend(client, history=history, k=5, explain=True)
        assert answer["path"] == "history"
        assert answer["warnings"] == []
        assert usual_kind(ids(answer)) == kind
        assert {one["item_id"][:4] for item in answer["items"] for one in item["reasons"]["alike"]} == {"mine"}
        if told == "title":
            assert answer["items"][0]["reasons"]["alike"][0]["title"] == title


def test_what_one_request_tells_is_unknown_to_the_next_and_to_its_neighbour(client):
    told = {"history": [{"item_id": "mine", "item": {"title": KINDS[0]}}], "k": 5}
    bare = {"history": [{"item_id": "mine"}], "k": 5}
    other = {"history": [{"item_id": "mine", "item": {"title": KINDS[1]}}], "k": 5}
    alone = [recommend(client, **one) for one in (told, other)]
    assert ids(alone[0]) != ids(alone[1])
    for _ in range(3):  # a vector that was remembered by the item's number would show now
        batch = client.post("/v1/recommend/batch", json={"requests": [told, bare, other]}).json()["answers"]
        assert [answer["path"] for answer in batch] == ["history", "popular", "history"]
        assert [ids(batch[0]), ids(batch[2])] == [ids(answer) for answer in alone]
        assert recommend(client, **bare)["warnings"] == ["history: left out, the catalogue does not hold 'mine'."]


def test_of_a_known_item_what_is_told_changes_nothing(client):
    known = {"history": [{"item_id": "i0"}], "k": 5}
    told = {"history": [{"item_id": "i0", "item": {"title": KINDS[1]}}], "k": 5}
    assert ids(recommend(client, **known)) == ids(recommend(client, **told))


def test_a_told_item_is_checked_where_it_stands(client):
    history = [{"item_id": "i0"}, {"item_id": "mine", "item": {"vector": [1.0]}}]
    response = client.post("/v1/recommend", json={"history": history})
    (fault,) = assert_problem(response, 422)["errors"]
    assert fault["pointer"] == "#/history/1/item/vector"
    assert "Expected 3 numbers (given: '1 numbers')" in fault["detail"]
    requests = [{"k": 3}, {"history": history}]
    (fault,) = assert_problem(client.post("/v1/recommend/batch", json={"requests": requests}), 422)["errors"]
    assert fault["pointer"] == "#/requests/1/history/1/item/vector"
    many = [{"item_id": str(number), "item": {"title": "x"}} for number in range(51)]
    (fault,) = assert_problem(client.post("/v1/recommend", json={"history": many}), 422)["errors"]
    assert "At most 50 events" in fault["detail"]


def test_an_item_of_the_bundle_told_again_has_the_vector_it_was_trained_with(kinds, cold):
    """The oracle of the cold path: text and vector give back what training left."""
    titles, vectors = kinds.catalogue.titles, kinds.catalogue.vectors
    documents = [
        ItemDocument(title=titles[row], vector=tuple(vectors[row].tolist()) if vectors[row].any() else None)
        for row in (1, 6, 11)
    ]
    assert [bool(document.title) for document in documents] == [False, True, False]
    trained = kinds.item_vectors[[1, 6, 11]]
    np.testing.assert_allclose(cold.vectors(documents, [None] * 3, [1, 6, 11]), trained, atol=1e-4)


def test_a_text_is_read_once_and_kept_for_its_encoder_only(kinds, cold, monkeypatch):
    document = ItemDocument(title=KINDS[0])
    text = cold.read_text(document)
    expected = cold.vectors([document], [text], [0])
    foreign = TextVector("another encoder", np.ones_like(text.values))
    np.testing.assert_allclose(cold.vectors([document], [foreign], [0]), expected, atol=1e-6)
    monkeypatch.setattr(TextReader, "__call__", None)  # nothing is read again
    np.testing.assert_allclose(cold.vectors([document], [text], [0]), expected)
    assert cold.read_text(ItemDocument(vector=(1.0, 0.0, 0.0))) is None


def test_texts_and_categories_are_read_in_one_line_as_in_training(cold):
    whole = cold.read_text(ItemDocument(title="apple", description="nail", categories=("x", "y")))
    line = cold.read_text(ItemDocument(title="apple. x, y. nail"))
    np.testing.assert_allclose(whole.values, line.values)
    np.testing.assert_allclose(np.linalg.norm(line.values), 1, rtol=1e-5)


def test_a_bundle_that_reads_no_text_needs_no_encoder(bundle, tmp_path):
    cold = ColdItems(bundle, TextReader("no such encoder", cache=tmp_path))
    assert cold.read_text(ItemDocument(title="tea")) is None
    assert cold.vectors([ItemDocument(title="tea", categories=("odd",))], [None], [0]).shape == (1, 16)


def test_a_missing_encoder_is_said(kinds, tmp_path):
    cold = ColdItems(kinds, TextReader(str(tmp_path / "nowhere"), cache=tmp_path))
    with pytest.raises(UnavailableError, match=r"New texts cannot be read: encoder .*nowhere"):
        cold.read_text(ItemDocument(title="tea"))
    assert cold.vectors([ItemDocument(vector=(1.0, 0.0, 0.0))], [None], [0]).shape == (1, 16)


def test_a_vector_of_zeros_is_no_direction(cold):
    with pytest.raises(RefusedError, match="All zeros"):
        cold.check(ItemDocument(vector=(0.0, 0.0, 0.0)))


def test_the_reader_forgets_the_oldest_and_reads_the_same(encoder_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("serving.text_reader.REMEMBERED", 2)
    reader = TextReader(str(encoder_folder), cache=tmp_path)
    first = reader(["apple", "", "bolt"])
    assert not first[1].any()
    reader(["violin", "cello", "flute"])
    np.testing.assert_allclose(reader(["bolt", "apple"]), first[[2, 0]], atol=1e-6)
    assert len(reader._remembered) == 2
