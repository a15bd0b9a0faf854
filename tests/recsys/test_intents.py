"""Heads for event types in a synthetic shop: they come near the probabilities its events are drawn by, and pay."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import recsys.listwise
from recsys.audit import LeakError
from recsys.bundle import RERANKER, load_bundle, save_bundle
from recsys.errors import InputError
from recsys.event_evidence import EventEvidence
from recsys.histories import case_histories
from recsys.intents import fit_intents
from recsys.occlusion import score_drops
from recsys.recommend import Recommender, exact_search
from recsys.report import Protocol, evaluate_bundle
from recsys.rerank import Reranking
from recsys.run import learn_reranker
from recsys.split import leave_one_out
from tests.worlds import EVENTS, FROM_THE_CART, intent_world

AS_THEY_COME = Protocol(request_time=True, allow_repeats=True)


@pytest.fixture(scope="module")
def drawn_by():
    """(R, 3) in the order of `EVENTS`."""
    return intent_world()[2]


@pytest.fixture(scope="module")
def shop(train_tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("intents") / "bundle"
    train_tiny(intent_world()[:2], folder, "train.epochs=2")
    return load_bundle(folder)


@pytest.fixture(scope="module")
def said(shop):
    metrics, _, _ = evaluate_bundle(shop, AS_THEY_COME, seed=0)
    return metrics["intents"]


def test_the_heads_come_near_the_probabilities_that_events_are_drawn_by(shop, drawn_by):
    """As near as a history of a dozen events lets them, which does not tell a buyer for certain."""
    cases, vectors = leave_one_out(shop.interactions).test, torch.from_numpy(shop.item_vectors)
    truth = drawn_by[cases.first_targets()]
    targets = torch.from_numpy(shop.interactions.item_idx[cases.first_targets()].astype(np.int64))[:, None]
    histories = case_histories(shop.interactions, cases, length=50, request_time=True)
    measured = Reranking(shop.reranker, vectors).weigh(torch.zeros(targets.shape), targets, histories).measured
    in_order = [shop.intents.index(name) for name in EVENTS]

    def lost(shares):
        """Mean Kullback-Leibler divergence from the truth."""
        return (truth * np.log(truth / shares[:, 0, in_order].numpy())).sum(1).mean()

    heads = shop.reranker.intents
    found, base_rates = heads.shares(measured, targets, histories), heads.base_rates(targets, histories)
    mix = heads.evidence.usual.expand_as(found)
    assert lost(found) < 0.08 < 0.12 < lost(base_rates) < 0.2 < lost(mix)
    assert np.abs(found[:, 0, in_order].numpy() - truth).mean() < 0.1
    from_the_cart = np.isclose(truth, FROM_THE_CART).all(1)
    assert from_the_cart.sum() > 30
    assert found[from_the_cart, 0, shop.intents.index("buy")].mean() > 0.75
    assert found[~from_the_cart, 0, shop.intents.index("buy")].mean() < 0.4


def test_they_foretell_more_than_the_base_rates_of_item_and_user(said):
    assert said["learnt"]
    likelihood = said["log_likelihood"]
    assert likelihood["heads"] > likelihood["base_rates"] + 0.05
    assert likelihood["base_rates"] > likelihood["mix"] + 0.05
    for figures in said["events"].values():
        assert figures["ece"]["heads"] < 0.1  # of 600 cases in 15 bins the generating probabilities have about 0.06
        assert figures["ece"]["with_candidate"] < 0.01


def test_asking_to_buy_finds_what_is_bought(said):
    buys = said["events"]["buy"]
    assert buys["cases"] > 100
    asked, unasked = (buys["ndcg@10"][name]["value"] for name in ("asked", "unasked"))
    assert asked > unasked + 0.08
    assert buys["p_value"] < 0.01
    assert buys["ndcg@10"]["asked"]["low"] <= asked <= buys["ndcg@10"]["asked"]["high"]


def test_the_report_without_an_intent_is_that_of_the_reranker(shop, said):
    metrics, _, _ = evaluate_bundle(shop, AS_THEY_COME, seed=0)
    cases = [figures["cases"] for figures in said["events"].values()]
    unasked = [figures["ndcg@10"]["unasked"]["value"] for figures in said["events"].values()]
    whole = metrics["recommenders"]["two_tower+rerank"]["ndcg@10"]["value"]
    assert sum(cases) == metrics["protocol"]["cases"]
    assert np.average(unasked, weights=cases) == pytest.approx(whole, abs=1e-6)


@pytest.fixture
def briefly(monkeypatch):
    """What the straight part of the networks finds is enough."""
    monkeypatch.setattr(recsys.listwise, "FEWEST_STEPS", 20)
    monkeypatch.setattr(recsys.listwise, "EPOCHS", 4)


def test_a_report_may_leave_out_what_was_bought_alone(shop):
    """What it masks is what a request masks that asks for the same."""
    metrics, rankings, _ = evaluate_bundle(shop, Protocol(request_time=True, seen_by=("buy",)), seed=0)
    cases, names = leave_one_out(shop.interactions).test, shop.interactions.event_names
    bought, out_of_reach, given = [], 0, rankings.filter(recommender="two_tower+rerank")
    for start, stop, target in zip(cases.starts, cases.stops, cases.first_targets(), strict=True):
        rows = [row for row in range(start, stop) if names[shop.interactions.event[row]] == "buy"]
        bought.append(shop.interactions.item_idx[rows].astype(np.int64))
        out_of_reach += shop.interactions.item_idx[target] in bought[-1]
    assert metrics["protocol"]["seen_targets"] == out_of_reach
    assert metrics["protocol"]["seen_by"] == ["buy"]
    for case, ranking in enumerate(recommended(shop, k=30, num_candidates=200, seen=bought[:6])):
        listed = given.filter(user_id=shop.interactions.user_ids[cases.user_idx[case]])
        item_ids = [shop.catalogue.item_ids[item] for item in ranking.item_idx]
        assert set(item_ids) == set(listed["item_id"])
        scores = dict(zip(listed["item_id"], listed["score"], strict=True))
        np.testing.assert_allclose(ranking.score, [scores[item] for item in item_ids], atol=1e-4)
    with pytest.raises(InputError, match=r"no event type 'wish'; they have .*buy"):
        evaluate_bundle(shop, Protocol(seen_by=("wish",)), seed=0)


@pytest.mark.usefixtures("briefly")
def test_where_events_come_by_chance_there_are_no_heads(shop):
    shuffled = np.random.default_rng(0).permutation(shop.interactions.event)
    chance = replace(shop, interactions=replace(shop.interactions, event=shuffled))
    bundle = replace(chance, reranker=learn_reranker(chance, leave_one_out(chance.interactions)))
    assert bundle.reranker is not None
    assert bundle.intents == ()
    with pytest.raises(InputError, match="no event types apart, so it cannot rank for 'buy'"):
        recommended(bundle, intent="buy")


def recommended(bundle, *, k=10, users=6, num_candidates=20, **wishes):
    """For the first test cases, anything being allowed."""
    vectors = torch.from_numpy(bundle.item_vectors)
    recommender = Recommender(bundle.model, vectors, bundle.reorder(vectors), num_candidates, exact_search(vectors))
    cases = leave_one_out(bundle.interactions).test[:users]
    histories = case_histories(bundle.interactions, cases, length=50, request_time=True)
    return recommender.recommend(histories, k=k, **wishes)


def test_an_intent_orders_by_how_likely_it_is(shop):
    for ranking in recommended(shop, intent="buy"):
        likely = ranking.intents["buy"]
        assert (np.diff(likely) <= 0).all()
        np.testing.assert_allclose(ranking.score, np.log(likely), rtol=1e-5)
        np.testing.assert_allclose(sum(ranking.intents.values()), ranking.probability, rtol=1e-5)
    first = [ranking.item_idx[0] for ranking in recommended(shop, users=60)]
    bought = [ranking.item_idx[0] for ranking in recommended(shop, users=60, intent="buy")]
    assert first != bought


def test_without_an_intent_the_order_is_that_of_probability_and_nothing_is_said_of_the_rest(shop):
    for ranking in recommended(shop, k=25):
        assert (np.diff(ranking.probability[:20]) <= 0).all()
        assert np.isnan(ranking.probability[20:]).all()
        assert all(np.isnan(likely[20:]).all() for likely in ranking.intents.values())
        assert set(ranking.intents) == set(EVENTS)


def test_each_history_may_have_an_intent_of_its_own(shop):
    mixed = recommended(shop, users=3, intent=[None, "buy", "view"])
    alone = [recommended(shop, users=3, intent=intent)[row] for row, intent in enumerate([None, "buy", "view"])]
    for one, other in zip(mixed, alone, strict=True):
        np.testing.assert_array_equal(one.item_idx, other.item_idx)
        np.testing.assert_array_equal(one.score, other.score)
        np.testing.assert_allclose(one.probability, other.probability, rtol=1e-6)


def test_an_unknown_intent_is_refused_with_those_there_are(shop):
    with pytest.raises(InputError, match=r"'wish' is no intent of this bundle; it knows .*buy"):
        recommended(shop, intent="wish")
    with pytest.raises(InputError, match="no event types apart"):
        recommended(replace(shop, reranker=None), intent="buy")
    assert recommended(replace(shop, reranker=None))[0].probability is None


def test_what_was_put_into_the_cart_carries_its_buying(shop):
    vectors = torch.from_numpy(shop.item_vectors)
    recommender = Recommender(shop.model, vectors, shop.reorder(vectors), 20, exact_search(vectors))
    histories = case_histories(shop.interactions, leave_one_out(shop.interactions).test, length=50, request_time=True)
    newest, events = histories.newest[:, None], shop.interactions.event_names
    soon = histories.asked_at.gather(1, newest) - histories.occurred_at.gather(1, newest) < 86_400
    in_cart = (histories.event.gather(1, newest) == list(events).index("cart")) & soon
    row = int(in_cart[:, 0].nonzero()[0])
    one = replace(histories, **{name: getattr(histories, name)[row : row + 1] for name in vars(histories)})
    item = one.item_idx.gather(1, one.newest[:, None])[0]
    to_buy, at_all = (score_drops(recommender, one, item, intent=intent)[-1, 0] for intent in ("buy", None))
    assert to_buy > at_all + 0.5


def test_there_and_back(shop, tmp_path):
    fingerprint = save_bundle(shop, tmp_path / "again")
    again = load_bundle(tmp_path / "again")
    assert again.fingerprint == fingerprint == shop.fingerprint
    for one, other in zip(recommended(shop, intent="buy"), recommended(again, intent="buy"), strict=True):
        np.testing.assert_array_equal(one.item_idx, other.item_idx)
        np.testing.assert_array_equal(one.score, other.score)


def test_a_reranker_without_heads_is_written_as_it_always_was(shop, tmp_path):
    """Old bundles stay as they are, and what has heads is another bundle."""
    without = replace(shop, reranker=replace(shop.reranker, intents=None))
    assert save_bundle(without, tmp_path / "without") != shop.fingerprint
    again = load_bundle(tmp_path / "without").reranker
    assert again.intents is None
    assert json.loads(again.facts()).keys() - {"left_out"} == {"names", "returns", "slope", "offset"}
    assert not any(name.startswith("intents") for name in again.tensors())
    assert (tmp_path / "without" / RERANKER).exists()


def test_event_types_counted_from_held_out_rows_are_caught(shop):
    heads = shop.reranker.intents
    everything = EventEvidence.of(shop.interactions, heads.names, shop.reranker.evidence.interests, request_time=True)
    leaking = replace(shop.reranker, intents=replace(heads, evidence=everything))
    with pytest.raises(LeakError, match="evidence"):
        evaluate_bundle(replace(shop, reranker=leaking), AS_THEY_COME, seed=0)


def some_evidence(shop, *, cases, kinds=9):
    """(L, E, K) of which the first kind tells the event that happened three times in four."""
    chance = torch.Generator().manual_seed(0)
    happened = torch.randint(3, (cases,), generator=chance)
    told_right = torch.rand(cases, generator=chance) < 0.75
    shown = torch.where(told_right, happened, torch.randint(3, (cases,), generator=chance))
    told = torch.randn(cases, 3, kinds, generator=chance)
    told[..., 0] = functional.one_hot(shown, 3).float()
    return told, happened


@pytest.mark.usefixtures("briefly")
def test_where_nothing_adds_to_the_base_rates_those_are_kept_alone(shop):
    told, happened = some_evidence(shop, cases=400)
    happened[:100] = 3  # of an event type without a head
    heads = fit_intents(shop.reranker.intents.evidence, told, happened, seed=0)
    assert not heads.learnt
    assert heads.named == pytest.approx(0.75)
    shares = torch.softmax(heads.sharpness * heads.nets.scores(told[..., :1]), -1)
    of_shown = shares.gather(1, told[..., 0].argmax(1, keepdim=True)).mean()
    assert float(of_shown) == pytest.approx(0.75 + 0.25 / 3, abs=0.05)


@pytest.mark.usefixtures("briefly")
def test_evidence_that_tells_nothing_teaches_nothing(shop):
    told, happened = some_evidence(shop, cases=300)
    told[..., 0] = torch.randn(told.shape[:2], generator=torch.Generator().manual_seed(1))
    assert fit_intents(shop.reranker.intents.evidence, told, happened, seed=0) is None
