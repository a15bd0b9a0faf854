import dataclasses
import json
import shutil
import time

import numpy as np
import pytest
import torch

from index.errors import VectorIndexError
from index.vector_index import VectorIndex
from recsys.bundle import load_bundle, write_manifest
from recsys.errors import InputError
from recsys.histories import gather_histories
from recsys.recommend import Recommender, exact_search
from recsys.split import keep
from serving.opening import open_service
from serving.schemas import HistoryEvent, RecommendRequest
from serving.service import UnknownItemError
from tests.serving.asking import assert_same_items


def offline_rankings(bundle, *, k):
    """What evaluation ranks for every user, their newest event held out."""
    interactions = bundle.interactions
    starts, stops = interactions.starts[:-1], interactions.starts[1:] - 1
    asks_when = interactions.occurred_at is not None and bundle.config.user_tower.request_time
    histories = gather_histories(
        interactions,
        starts,
        stops,
        length=bundle.config.user_tower.history_length,
        requested_at=interactions.occurred_at[stops] if asks_when else None,
    )
    vectors = torch.from_numpy(bundle.item_vectors)
    recommender = Recommender(
        bundle.model, vectors, bundle.reorder(vectors), bundle.config.prior.num_candidates, exact_search(vectors)
    )
    seen = [interactions.item_idx[start:stop] for start, stop in zip(starts, stops, strict=True)]
    return recommender.recommend(histories, k=k, seen=seen)


def told_history(bundle, user_idx):
    """All but the newest event of a user, as a stranger would tell them."""
    interactions = bundle.interactions
    mine = range(interactions.starts[user_idx], interactions.starts[user_idx + 1] - 1)
    return [
        HistoryEvent(
            item_id=bundle.catalogue.item_ids[interactions.item_idx[row]],
            occurred_at=None if interactions.occurred_at is None else int(interactions.occurred_at[row]),
            event=interactions.event_names[interactions.event[row]],
            value=float(interactions.value[row]),
        )
        for row in mine
    ]


def assert_same_ranking(answer, ranking, bundle):
    assert [item.item_id for item in answer.items] == [bundle.catalogue.item_ids[idx] for idx in ranking.item_idx]
    assert [item.score for item in answer.items] == pytest.approx(ranking.score.tolist(), abs=1e-4)


def test_a_known_user_is_ranked_as_offline(service, bundle):
    """Every user, as of the instant of their newest event: the stored history is all before it."""
    assert bundle.prior.weight > 0
    newest = bundle.interactions.occurred_at[bundle.interactions.starts[1:] - 1]
    for user_id, instant, ranking in zip(
        bundle.interactions.user_ids, newest.tolist(), offline_rankings(bundle, k=10), strict=True
    ):
        answer = service.recommend(RecommendRequest(user_id=user_id, requested_at=instant))
        assert answer.path == "personal"
        assert_same_ranking(answer, ranking, bundle)


def test_a_told_history_is_ranked_as_offline(service, bundle):
    newest = bundle.interactions.occurred_at[bundle.interactions.starts[1:] - 1]
    for user_idx, ranking in enumerate(offline_rankings(bundle, k=10)):
        request = RecommendRequest(history=told_history(bundle, user_idx), requested_at=int(newest[user_idx]))
        answer = service.recommend(request)
        assert answer.path == "history"
        assert_same_ranking(answer, ranking, bundle)


def test_without_a_clock_too(shop_without_clock):
    service = open_service(shop_without_clock)
    bundle = service.bundle
    for user_idx, ranking in enumerate(offline_rankings(bundle, k=5)):
        answer = service.recommend(RecommendRequest(history=told_history(bundle, user_idx), k=5))
        assert_same_ranking(answer, ranking, bundle)
    answer = service.recommend(RecommendRequest(user_id="顾客1", requested_at=5))
    assert answer.path == "personal"
    assert answer.warnings == ["requested_at: the bundle's interactions have no clock, so all that is stored was read."]
    assert service.recommend(RecommendRequest()).path == "popular"


def test_a_stored_and_a_told_half_make_the_whole(service, bundle):
    """Half of the history is read from the store, half from the request, in whatever order it is told."""
    user_id, told = "顾客7", told_history(bundle, bundle.interactions.user_index("顾客7"))
    now = told[-1].occurred_at + 60
    whole = service.recommend(RecommendRequest(history=told, requested_at=now))
    cut = dataclasses.replace(service, bundle=only_before(bundle, user_id, told[4].occurred_at))
    both = cut.recommend(RecommendRequest(user_id=user_id, history=told[:3:-1], requested_at=now))
    assert both.path == "personal"
    assert_same_items(both.items, whole.items)
    stored_alone = cut.recommend(RecommendRequest(user_id=user_id, requested_at=now))
    assert stored_alone.items != whole.items


def only_before(bundle, user_id, instant):
    """The bundle as if one user had stopped at an instant."""
    interactions = bundle.interactions
    mine = interactions.of_user(interactions.user_index(user_id))
    late = np.zeros(len(interactions), bool)
    late[mine] = interactions.occurred_at[mine] >= instant
    return dataclasses.replace(bundle, interactions=keep(interactions, ~late))


def test_an_event_that_does_not_say_its_kind_is_of_the_most_common_one(service):
    def scores(kind):
        history = [HistoryEvent(item_id="shelf/05", event=kind)]
        return [item.score for item in service.recommend(RecommendRequest(history=history, requested_at=5)).items]

    assert scores(None) == scores("view")  # two of three are views
    assert scores(None) != scores("buy")


def test_an_earlier_instant_knows_less(service, bundle):
    mine = bundle.interactions.of_user(bundle.interactions.user_index("顾客5"))
    instants = bundle.interactions.occurred_at[mine].tolist()
    seen_later = bundle.catalogue.item_ids[bundle.interactions.item_idx[mine][-1]]
    everything = RecommendRequest(user_id="顾客5", k=40, requested_at=instants[-1])
    assert seen_later in [item.item_id for item in service.recommend(everything).items]
    now = everything.model_copy(update={"requested_at": instants[-1] + 1})
    assert seen_later not in [item.item_id for item in service.recommend(now).items]
    before = service.recommend(everything.model_copy(update={"requested_at": instants[0]}))
    assert before.path == "popular"


def test_what_was_seen_comes_back_only_if_asked_for(service, bundle):
    request = RecommendRequest(user_id="顾客2", history=[HistoryEvent(item_id="shelf/00")], k=40)
    mine = bundle.interactions.of_user(bundle.interactions.user_index("顾客2"))
    seen = {bundle.catalogue.item_ids[idx] for idx in bundle.interactions.item_idx[mine]} | {"shelf/00"}
    answer = service.recommend(request)
    offered = [item.item_id for item in answer.items]
    assert set(offered) == set(bundle.catalogue.item_ids[1:]) - seen
    assert len(offered) == len(set(offered))
    assert answer.warnings == [
        f"k: {len(offered)} items instead of 40, all that the catalogue holds and the user has not seen."
    ]
    everything = service.recommend(request.model_copy(update={"exclude_seen": False}))
    assert {item.item_id for item in everything.items} == set(bundle.catalogue.item_ids[1:])
    assert everything.warnings == []


def test_a_stranger_gets_what_is_popular_of_late(service, bundle):
    answer = service.recommend(RecommendRequest(user_id="stranger", k=3))
    last = bundle.interactions.occurred_at.max()
    late = bundle.interactions.item_idx[bundle.interactions.occurred_at > last - 30 * 86_400]
    counts = np.bincount(late, minlength=41)
    assert answer.path == "popular"
    assert answer.warnings == ["user_id: nothing is stored of 'stranger'."]
    assert [item.score for item in answer.items] == np.sort(counts)[::-1][:3].tolist()
    assert [counts[bundle.catalogue.index_of(item.item_id)] for item in answer.items] == [
        item.score for item in answer.items
    ]


def test_reasons_name_what_is_in_the_history_and_add_up_to_the_score(service, bundle):
    request = RecommendRequest(history=[HistoryEvent(item_id=f"shelf/0{n}") for n in (3, 4, 5)], k=5, explain=True)
    answer = service.recommend(request)
    told = {"第3号 茶 ☕", "第4号 茶 ☕", "第5号 茶 ☕"}
    for item in answer.items:
        assert item.reasons.cosine / bundle.prior.temperature + item.reasons.prior == pytest.approx(item.score)
        assert {one.title for one in item.reasons.followed + item.reasons.alike} <= told
    # What usually comes after the newest is among the first, for the right reason; how high is for evaluation to judge.
    following = next(item for item in answer.items if item.item_id == "shelf/06")
    assert following.reasons.followed[0].item_id == "shelf/05"
    silent = service.recommend(request.model_copy(update={"explain": False}))
    assert [item.item_id for item in silent.items] == [item.item_id for item in answer.items]
    assert all(item.reasons is None for item in silent.items)


def test_the_answer_says_who_answered_and_how_long_it_took(service, bundle):
    started = time.perf_counter()
    answer = service.recommend(RecommendRequest(user_id="顾客1", explain=True))
    elapsed_ms = (time.perf_counter() - started) * 1_000
    assert answer.model == bundle.fingerprint
    assert set(answer.timings_ms) == {"history", "encode", "search", "rank", "items", "reasons", "total"}
    stages = sum(answer.timings_ms.values()) - answer.timings_ms["total"]
    assert stages <= answer.timings_ms["total"] + 0.01
    assert answer.timings_ms["total"] <= elapsed_ms


def test_similar_items_are_the_nearest_by_cosine(service, bundle):
    answer = service.similar("shelf/05", k=40)
    cosines = bundle.item_vectors[1:] @ bundle.item_vectors[bundle.catalogue.index_of("shelf/05")]
    order = [idx for idx in np.argsort(-cosines, kind="stable") if idx != 5]
    assert [item.item_id for item in answer.items] == [f"shelf/{idx:02}" for idx in order]
    assert [item.cosine for item in answer.items] == pytest.approx(cosines[order], abs=1e-6)
    assert answer.title == "第5号 茶 ☕"
    assert [item.item_id for item in service.similar("shelf/05", k=2).items] == [f"shelf/{idx:02}" for idx in order[:2]]


def test_an_item_with_a_twin_is_still_left_out_of_its_own_neighbours(service, bundle):
    """Of two items with one vector the smaller id is found first: the item asked about need not be."""
    vectors = bundle.item_vectors.copy()
    vectors[[7, 8, 9]] = vectors[7]
    twins = VectorIndex.build(vectors[1:], np.arange(1, 41))
    answer = dataclasses.replace(service, index=twins).similar(bundle.catalogue.item_ids[9], k=1)
    assert [item.item_id for item in answer.items] == [bundle.catalogue.item_ids[7]]


def test_an_unknown_item_is_named(service):
    with pytest.raises(UnknownItemError, match="'shelf/99' is not in the catalogue"):
        service.similar("shelf/99", k=3)


def test_describe(service, bundle):
    described = service.describe()
    assert described.fingerprint == bundle.fingerprint
    assert (described.items, described.users, described.interactions) == (40, 90, 810)
    assert (described.event_names, described.has_clock) == (["view", "buy"], True)
    assert described.index == {"name": "Exact", "half": False, "items": 40}
    assert described.config["width"] == 16
    assert described.protocol["split"] == "leave-one-out"
    assert set(described.versions) == {"python", "torch", "transformers", "numpy"}
    assert described.metrics is None


def test_describe_gives_the_main_figures_of_a_report(broken):
    figure = {"value": 0.5, "low": 0.4, "high": 0.6}
    report = {"recommenders": {"two_tower": {"ndcg@10": figure, "mrr@5": figure}}, "groups": {}}
    (broken / "metrics.json").write_text(json.dumps(report))
    assert open_service(broken).describe().metrics == {"two_tower": {"ndcg@10": figure}}


@pytest.mark.parametrize("report", ["{", "[]", '{"recommenders": 3}', "{}"])
def test_a_damaged_report_is_refused_by_name(broken, report):
    (broken / "metrics.json").write_text(report)
    with pytest.raises(InputError, match=r"metrics\.json: damaged"):
        open_service(broken)


def test_a_bundle_without_an_index_is_searched_exactly(broken, service):
    shutil.rmtree(broken / "index")
    request = RecommendRequest(user_id="顾客4", requested_at=1_800_000_000)
    assert_same_items(open_service(broken).recommend(request).items, service.recommend(request).items)


@pytest.mark.parametrize(
    "name", ["config.toml", "catalogue.parquet", "item_vectors.npy", "towers.safetensors", "prior.safetensors"]
)
def test_a_flipped_byte_is_refused_by_name(broken, name):
    flip_a_byte(broken / name)
    with pytest.raises(InputError, match=rf"{name}: sha256 .* damaged"):
        open_service(broken)


def test_a_flipped_byte_in_the_index_is_refused_by_name(broken):
    (vectors,) = broken.glob("index/*/vectors.faiss")
    flip_a_byte(vectors)
    with pytest.raises(VectorIndexError, match=r"vectors\.faiss"):
        open_service(broken)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_the_index_of_another_bundle_is_refused(broken, other_shop):
    shutil.rmtree(broken / "index")
    shutil.copytree(other_shop / "index", broken / "index")
    write_manifest(broken)  # even a manifest that lists it does not make it this bundle's
    theirs, ours = load_bundle(other_shop).fingerprint, load_bundle(broken).fingerprint
    with pytest.raises(VectorIndexError) as refusal:
        open_service(broken)
    assert theirs[:8] in str(refusal.value)
    assert ours[:8] in str(refusal.value)


def test_a_file_of_another_bundle_is_refused(broken, other_shop):
    shutil.copy(other_shop / "item_vectors.npy", broken / "item_vectors.npy")
    with pytest.raises(InputError, match=r"item_vectors\.npy: .* from another run"):
        open_service(broken)


def test_no_bundle_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no bundle here .* `recsys train`"):
        open_service(tmp_path)
