"""Filters, diversity, places and batches, as a request wishes for them."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from serving.opening import open_service
from serving.schemas import MAX_BATCH, RecommendRequest
from serving.state import open_state
from tests.serving.asking import assert_problem, assert_same_items, ids, recommend, serving

LATER = 1_703_000_000


@pytest.fixture(scope="module")
def client(shop, tmp_path_factory):
    with serving(shop, tmp_path_factory.mktemp("wishes") / "state") as client:
        yield client


def number(item_id):
    return int(item_id.removeprefix("shelf/"))


FILTERS = [
    ({"any_of": ["odd"]}, lambda n: n % 2),
    ({"any_of": ["odd", "even"], "none_of": ["odd"]}, lambda n: not n % 2),
    ({"all_of": ["odd", "even"]}, lambda n: False),
    ({"any_of": ["no such"]}, lambda n: False),
    ({"ranges": {"price": {"min": 10, "max": 19.5}}}, lambda n: 10 <= n <= 19),
    ({"ranges": {"price": {"max": 3}}, "any_of": ["even"]}, lambda n: n in (0, 2)),
    ({"allow": ["shelf/03", "shelf/04", "shelf/05"], "deny": ["shelf/04"]}, lambda n: n in (3, 5)),
    ({"allow": []}, lambda n: False),
    ({"deny": [f"shelf/{n:02}" for n in range(30)]}, lambda n: n >= 30),
    ({}, lambda n: True),
]


@pytest.mark.parametrize(("filters", "passes"), FILTERS)
@pytest.mark.parametrize("asked", [{"user_id": "顾客3"}, {"history": [{"item_id": "shelf/20"}]}, {}])
def test_a_filter_lets_through_what_it_should_in_the_unfiltered_order(client, asked, filters, passes):
    """On every path, and k items come where k are eligible: the filter stands before the cut."""
    asked = {**asked, "requested_at": LATER, "exclude_seen": False}
    whole = ids(recommend(client, **asked, k=40))
    expected = [item_id for item_id in whole if passes(number(item_id))]
    answer = recommend(client, **asked, k=40, filters=filters)
    # Behind the prior's reach there is none here: 40 items, 200 candidates.
    assert ids(answer) == expected
    assert ids(recommend(client, **asked, k=3, filters=filters)) == expected[:3]
    if len(expected) < 40:
        assert f"k: {len(expected)} items instead of 40" in answer["warnings"][-1]
        assert "the filters let through" in answer["warnings"][-1]


def test_seen_items_do_not_eat_into_k(client, bundle):
    """Nine were seen; of the twenty odd ones all but those seen come."""
    mine = bundle.interactions.of_user(bundle.interactions.user_index("顾客3"))
    seen = {bundle.catalogue.item_ids[idx] for idx in bundle.interactions.item_idx[mine]}
    odd = {f"shelf/{n:02}" for n in range(1, 40, 2)}
    answer = recommend(client, user_id="顾客3", requested_at=LATER, k=40, filters={"any_of": ["odd"]})
    assert set(ids(answer)) == odd - seen
    assert odd & seen


@pytest.mark.parametrize(
    ("filters", "pointer", "words"),
    [
        ({"ranges": {"weight": {"min": 1}}}, "#/filters/ranges/weight", "numeric columns are: price"),
        ({"ranges": {"price": {}}}, "#/filters/ranges/price", "Give min, max or both"),
        ({"ranges": {"price": {"min": 2, "max": 1}}}, "#/filters/ranges/price", "min is above max"),
        ({"any_of": "odd"}, "#/filters/any_of", "valid list"),
        ({"some_of": []}, "#/filters/some_of", "no such field"),
    ],
)
def test_a_bad_filter_names_its_place(client, filters, pointer, words):
    (fault,) = assert_problem(client.post("/v1/recommend", json={"filters": filters}), 422)["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]


def test_unknown_items_of_a_filter_are_named(client):
    answer = recommend(client, filters={"allow": ["shelf/01", "nope"], "deny": ["neither"]}, k=1)
    assert answer["warnings"] == [
        "filters.allow: the catalogue does not hold 'nope'.",
        "filters.deny: the catalogue does not hold 'neither'.",
    ]


def test_one_callers_filter_is_not_anothers(client):
    odd = {"user_id": "顾客3", "filters": {"any_of": ["odd"]}, "requested_at": LATER}
    even = {"user_id": "顾客3", "filters": {"any_of": ["even"]}, "requested_at": LATER}
    plain = {"user_id": "顾客3", "requested_at": LATER}
    asked = [odd, plain, even, odd, {"k": 2, "filters": {"any_of": ["even"]}}]
    alone = [ids(recommend(client, **one)) for one in asked]
    answers = client.post("/v1/recommend/batch", json={"requests": asked}).json()["answers"]
    assert [ids(answer) for answer in answers] == alone
    assert len({tuple(one) for one in alone}) == 4


def test_diversity_states_its_price(client):
    asked = {"user_id": "顾客3", "requested_at": LATER, "k": 10}
    plain = recommend(client, **asked)
    assert "diversity" not in plain
    free = recommend(client, **asked, diversity={"strength": 0.0})
    assert ids(free) == ids(plain)
    assert free["diversity"]["score_given_up"] == free["diversity"]["replaced"] == 0
    dear = recommend(client, **asked, diversity={"strength": 0.9})
    told = dear["diversity"]
    mean = {name: np.mean([item["score"] for item in one["items"]]) for name, one in (("plain", plain), ("dear", dear))}
    assert told["score_given_up"] == pytest.approx(mean["plain"] - mean["dear"], abs=1e-4)
    assert told["score_given_up"] > 0
    assert told["replaced"] == len(set(ids(plain)) - set(ids(dear)))
    assert told["alikeness_after"] < told["alikeness_before"]
    assert_same_items(dear["items"][:1], plain["items"][:1])


def test_reasons_of_a_diverse_answer_still_add_up(client, service):
    asked = {"user_id": "顾客3", "requested_at": LATER, "k": 10, "explain": True}
    temperature = service.bundle.prior.temperature
    for item in recommend(client, **asked, diversity={"strength": 0.9})["items"]:
        reasons = item["reasons"]
        assert reasons["cosine"] / temperature + reasons["prior"] == pytest.approx(item["score"], abs=1e-4)


@pytest.mark.parametrize("asked", [{"user_id": "顾客3"}, {}])
def test_no_category_has_more_than_its_share(client, bundle, asked):
    kind_of = dict(zip(bundle.catalogue.item_ids, bundle.catalogue.categories, strict=True))
    answer = recommend(client, **asked, k=10, diversity={"strength": 0.0, "max_per_category": 5})
    assert Counter(kind for item in ids(answer) for kind in kind_of[item]) == {"odd": 5, "even": 5}
    few = recommend(client, **asked, k=10, diversity={"max_per_category": 2})
    assert len(ids(few)) == 4
    assert "4 items instead of 10" in few["warnings"][-1]
    assert "no category holds too many of" in few["warnings"][-1]


def test_a_place_is_taken_and_said_to_change_nothing(client):
    asked = {"user_id": "顾客3", "requested_at": LATER}
    answer = recommend(client, **asked, place={"lat": 48.1, "lon": 11.6})
    assert ids(answer) == ids(recommend(client, **asked))
    assert answer["warnings"] == ["place: the bundle's towers do not read places, so it changed nothing."]
    (fault,) = assert_problem(client.post("/v1/recommend", json={"place": {"lat": 91, "lon": 0}}), 422)["errors"]
    assert fault["pointer"] == "#/place/lat"


def test_a_batch_is_its_requests_one_by_one(client):
    """Each path, several k, with and without reasons and diversity."""
    asked = [
        {"user_id": "顾客3", "k": 7},
        {"history": [{"item_id": "shelf/01"}, {"item_id": "shelf/02"}], "k": 1, "explain": True},
        {"k": 3},
        {"user_id": "顾客4", "history": [{"item_id": "shelf/09", "occurred_at": LATER}], "k": 40},
        {"user_id": "顾客5", "exclude_seen": False, "diversity": {"strength": 0.4}},
        {"user_id": "nobody", "explain": True},
    ]
    asked = [{**one, "requested_at": LATER} for one in asked]
    answer = client.post("/v1/recommend/batch", json={"requests": asked}).json()["answers"]
    for one, together in zip(asked, answer, strict=True):
        alone = recommend(client, **one)
        assert ids(together) == ids(alone)
        assert [item["score"] for item in together["items"]] == pytest.approx(
            [item["score"] for item in alone["items"]], abs=1e-4
        )
        for member in ("path", "model", "requested_at", "warnings"):
            assert together[member] == alone[member]
        assert ("reasons" in together["items"][0]) == ("reasons" in alone["items"][0])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"requests": []}, "#/requests"),
        ({"requests": [{}] * (MAX_BATCH + 1)}, "#/requests"),
        ({"requests": [{}, {"k": 0}]}, "#/requests/1/k"),
        ({"requests": [{}, {"filters": {"ranges": {"weight": {"min": 1}}}}]}, "#/requests/1/filters/ranges/weight"),
    ],
)
def test_a_bad_batch_names_the_request(client, body, pointer):
    (fault,) = assert_problem(client.post("/v1/recommend/batch", json=body), 422)["errors"]
    assert fault["pointer"] == pointer


def test_an_index_without_attributes_is_refused(broken, bundle):
    import shutil

    from index.vector_index import VectorIndex
    from recsys.errors import InputError

    shutil.rmtree(broken / "index")
    bare = VectorIndex.build(bundle.item_vectors[1:], np.arange(1, 41), fingerprint=bundle.fingerprint)
    bare.save(broken / "index")
    with pytest.raises(InputError, match="without categories and numbers"):
        open_service(broken)


def test_many_candidates_behind_the_priors_reach_are_filtered_too(shop, tmp_path):
    """With the prior reordering five only, a filtered ranking of forty is still whole and in one order."""
    state = open_state(tmp_path / "state")
    service = open_service(shop, state=state)
    few = dataclasses.replace(service, recommender=dataclasses.replace(service.recommender, num_candidates=5))
    request = RecommendRequest.model_validate(
        {"user_id": "顾客3", "k": 40, "requested_at": LATER, "exclude_seen": False, "filters": {"any_of": ["odd"]}}
    )
    items = few.recommend(request).items
    assert len(items) == 20
    assert [item.score for item in items] == sorted((item.score for item in items), reverse=True)
    state.close()


def test_every_field_and_parameter_is_described(client):
    document = client.get("/openapi.json").json()
    for name, schema in document["components"]["schemas"].items():
        for field, told in schema.get("properties", {}).items():
            assert "description" in told, (name, field)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            assert all("description" in parameter for parameter in operation.get("parameters", [])), path
