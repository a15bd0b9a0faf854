"""The reranker: it finds what only it is told, keeps out where nothing is to be found, and knows no future."""

import json
from dataclasses import replace
from statistics import median
from time import process_time

import numpy as np
import pytest
import torch

import recsys.rerank
from benchmarks.accuracy.evidence import fixed_weights
from recsys.audit import LeakError
from recsys.bundle import RERANKER, load_bundle, save_bundle
from recsys.card import model_card
from recsys.errors import InputError
from recsys.evaluate import target_ranks
from recsys.evidence import Evidence
from recsys.histories import case_histories
from recsys.interests import bundle_taxonomy
from recsys.metrics import ndcg
from recsys.report import RERANKED, Protocol, evaluate_bundle, tower_scorers
from recsys.run import bundle_split, learn_reranker, relearn_reranker
from tests.worlds import chain_world, fashion_world, moving_world


@pytest.fixture(scope="module")
def folder(train_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashion") / "bundle"
    train_tiny(fashion_world(), folder, "train.epochs=4")
    return folder


@pytest.fixture(scope="module")
def fashionable(folder):
    return load_bundle(folder)


def test_what_only_the_evidence_tells_is_found(fashionable):
    metrics, _, _ = evaluate_bundle(fashionable, Protocol(request_time=True), seed=0)
    ndcg = {name: figures["ndcg@10"]["value"] for name, figures in metrics["recommenders"].items()}
    assert ndcg["two_tower+rerank"] > ndcg["two_tower+prior"] + 0.2
    assert ndcg["two_tower+rerank"] > 0.5
    assert metrics["p_values"]["better"] == "two_tower+rerank"
    assert metrics["calibration"]["two_tower+rerank"]["ece"] < 0.02


def test_it_reorders_and_retrieves_nothing_else(fashionable):
    metrics, _, _ = evaluate_bundle(fashionable, Protocol(request_time=True), seed=0)
    found = [metrics["recommenders"][name]["recall@200"]["value"] for name in ("two_tower", "two_tower+rerank")]
    assert found[0] == found[1]


def test_who_moved_is_followed_and_who_stayed_is_not_forgotten(train_tiny, tmp_path):
    """One weight of lately against for long suits the ones or the others; a learnt one both."""
    interactions, catalogue, moved = moving_world(users=300)
    bundle = train_tiny((interactions, catalogue), tmp_path / "b")
    test = bundle_split(bundle).test
    movers = np.array([moved[interactions.user_ids[user]] for user in test.user_idx])

    def by_group(scorer):
        gained = ndcg(target_ranks(scorer, test, interactions), test.target_cases, k=10)
        return gained[movers].mean(), gained[~movers].mean()

    learnt = by_group(tower_scorers(bundle, allow_repeats=False)[RERANKED])
    only_lately, lately, for_long = (by_group(fixed_weights(bundle, half_life)) for half_life in (1.0, 3.0, np.inf))
    assert learnt[0] > for_long[0] + 0.1
    assert learnt[1] > only_lately[1] + 0.03
    assert sum(learnt) > max(sum(fixed) for fixed in (only_lately, lately, for_long)) + 0.01


def test_too_few_cases_teach_nothing(train_tiny, tmp_path):
    assert train_tiny(chain_world(users=100), tmp_path / "b").reranker is None


def test_it_is_left_out_where_unseen_targets_get_no_likelier(fashionable, monkeypatch):
    def learn_noise(evidence, empty, chosen, **more):
        learnt = fit_listwise(evidence, empty, chosen, **more)
        return replace(learnt, unseen=torch.randn(learnt.unseen.shape))

    fit_listwise = recsys.rerank.fit_listwise
    monkeypatch.setattr(recsys.rerank, "fit_listwise", learn_noise)
    assert learn_reranker(fashionable, bundle_split(fashionable)) is None


def test_it_is_left_out_where_it_is_not_wanted(train_tiny, tmp_path):
    bundle = train_tiny(fashion_world(), tmp_path / "b", "train.epochs=1", "rerank.enabled=false")
    assert bundle.reranker is None
    assert not (tmp_path / "b" / RERANKER).exists()


def test_evidence_from_the_future_is_caught(fashionable):
    reranker = fashionable.reranker
    everything = Evidence.of(
        fashionable.interactions, bundle_taxonomy(fashionable), fashionable.prior, returns=reranker.evidence.returns
    )
    leaking = replace(fashionable, reranker=replace(reranker, evidence=everything))
    with pytest.raises(LeakError, match="evidence"):
        evaluate_bundle(leaking, Protocol(), seed=0)


def test_there_and_back(fashionable, tmp_path):
    fingerprint = save_bundle(fashionable, tmp_path / "again")
    again = load_bundle(tmp_path / "again")
    assert again.fingerprint == fingerprint == fashionable.fingerprint
    one, other = (scores(bundle) for bundle in (fashionable, again))
    assert torch.equal(one, other)
    first = fashionable.reranker.probabilities(one)
    assert torch.equal(first, again.reranker.probabilities(other))
    assert ((first > 0) & (first < 1)).all()


def test_the_fingerprint_covers_it(fashionable, tmp_path):
    without = save_bundle(replace(fashionable, reranker=None), tmp_path / "without")
    assert without != fashionable.fingerprint
    assert load_bundle(tmp_path / "without").reranker is None


@pytest.mark.parametrize("damage", ["a byte", "gone"])
def test_a_damaged_reranker_is_refused_by_name(fashionable, tmp_path, damage):
    save_bundle(fashionable, tmp_path / "b")
    path = tmp_path / "b" / RERANKER
    if damage == "gone":
        path.unlink()
    else:
        raw = bytearray(path.read_bytes())
        raw[-1] ^= 1
        path.write_bytes(raw)
    with pytest.raises(InputError, match=RERANKER):
        load_bundle(tmp_path / "b")


def test_learnt_anew_it_is_the_same(folder, fashionable, tmp_path):
    save_bundle(replace(fashionable, reranker=None), tmp_path / "b")
    again = relearn_reranker(tmp_path / "b")
    assert again.fingerprint == fashionable.fingerprint
    assert json.loads((tmp_path / "b" / "manifest.json").read_text())["fingerprint"] == again.fingerprint


def test_a_candidate_s_score_depends_on_no_other(fashionable):
    whole = scores(fashionable)
    alone = torch.cat([scores(fashionable, [candidate]) for candidate in range(1, 6)], dim=1)
    torch.testing.assert_close(alone, whole[:, :5], atol=1e-4, rtol=1e-4)


def test_what_does_not_pay_is_left_out_and_said_to_be(fashionable):
    evidence = fashionable.reranker.evidence
    assert "chosen_week" in evidence.names  # the fashion
    assert not {"like_newest", "like_any", "like_some"} & set(evidence.names)
    assert "left out, since it did not pay: " in model_card(fashionable, None)
    assert "left out" not in model_card(replace(fashionable, reranker=None), None)


@pytest.mark.slow
def test_two_hundred_candidates_within_three_milliseconds(fashionable):
    """Of a quiet core; twice that is room for a busy one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        candidates = [1 + place % 40 for place in range(200)]
        seconds = []
        for _ in range(200):
            began = process_time()
            scores(fashionable, candidates, cases=1)
            seconds.append(process_time() - began)
    finally:
        torch.set_num_threads(threads)
    assert median(seconds) < 2 * 0.003


def scores(bundle, candidates=range(1, 41), *, cases=20):
    """What the reranker says of the same candidates for the first cases."""
    some = bundle_split(bundle).test[:cases] if cases != 1 else one_case(bundle)
    vectors = torch.from_numpy(bundle.item_vectors)
    histories = case_histories(bundle.interactions, some, length=50, request_time=True)
    asked = torch.tensor(list(candidates)).expand(len(some), -1)
    users = torch.from_numpy(bundle.query_vectors[: len(some)])
    return bundle.reranker.reorder((users @ vectors.T).gather(1, asked), asked, histories, item_vectors=vectors)


_ONE = {}


def one_case(bundle):
    """The split made once: its time is no part of the reranker's."""
    return _ONE.setdefault(bundle.fingerprint, bundle_split(bundle).test[:1])
