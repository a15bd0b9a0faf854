"""A whole report of a trained bundle: what it says can be recomputed from what it leaves."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from recsys.bundle import load_bundle, read_manifest, write_manifest
from recsys.report import Protocol, evaluate_bundle, save_report
from recsys.split import make_split
from tests.worlds import cold_world

RECOMMENDERS = {"two_tower", "two_tower+prior", "popularity", "recent_popularity", "item_knn", "transitions"}
PROTOCOLS = [Protocol(), Protocol(request_time=True, allow_repeats=True)]


@pytest.fixture(scope="module", params=PROTOCOLS, ids=["asked late, no repeats", "asked in time, repeats"])
def left(request, bundle, tmp_path_factory):
    """The protocol, metrics.json, rankings.parquet and cases.parquet as an outsider reads them."""
    folder = tmp_path_factory.mktemp("report") / "out"
    save_report(folder, *evaluate_bundle(bundle, request.param, seed=3))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return (request.param, metrics, *(pl.read_parquet(folder / f"{name}.parquet") for name in ("rankings", "cases")))


def recomputed(rankings, cases, gain, k):
    """A metric from the two tables alone, for cases of one target."""
    ranks = cases.join(rankings, on=["user_id", "item_id"], how="left")["rank"].fill_null(np.inf).to_numpy()
    assert len(ranks) == len(cases)
    return np.where(ranks <= k, gain(ranks), 0.0).mean()


GAINS = {
    "recall": lambda ranks: 1.0,
    "hit_rate": lambda ranks: 1.0,
    "ndcg": lambda ranks: 1 / np.log2(ranks + 1),
    "mrr": lambda ranks: 1 / ranks,
}


def test_anyone_can_recompute_every_accuracy(left):
    _, metrics, rankings, cases = left
    habits = {"revisits"} if metrics["protocol"]["allow_repeats"] else set()
    assert metrics["recommenders"].keys() == RECOMMENDERS | habits
    for name, figures in metrics["recommenders"].items():
        mine = rankings.filter(recommender=name)
        for metric, gain in GAINS.items():
            for k in (1, 5, 10, 20, 50, 100, 200):
                figure = figures[f"{metric}@{k}"]
                assert figure["value"] == pytest.approx(recomputed(mine, cases, gain, k), abs=1e-12)
                assert figure["low"] - 1e-12 <= figure["value"] <= figure["high"] + 1e-12


def test_anyone_can_recompute_from_the_scores_with_their_own_ties(left):
    _, _, rankings, _ = left
    ranked = rankings.with_columns(ours=pl.col("score").rank("average", descending=True).over("recommender", "user_id"))
    np.testing.assert_array_equal(ranked["ours"], ranked["rank"])


def test_lists_are_ordered_and_hold_no_item_twice(left, bundle):
    protocol, _, rankings, _ = left
    assert rankings["rank"].is_between(1, 200).all()
    assert not rankings.select("recommender", "user_id", "item_id").is_duplicated().any()
    ordered = rankings.group_by("recommender", "user_id", maintain_order=True).agg(pl.col("rank"), pl.col("score"))
    assert all(ranks.is_sorted() for ranks in ordered["rank"])
    assert all(scores.is_sorted(descending=True) for scores in ordered["score"])
    interactions, catalogue = bundle.interactions, bundle.catalogue
    had = {
        (user_id, catalogue.item_ids[item])
        for user, user_id in enumerate(interactions.user_ids)
        for item in interactions.item_idx[interactions.of_user(user)][:-1]
    }
    seen = sum(pair in had for pair in rankings.select("user_id", "item_id").rows())
    assert (seen > 0) == protocol.allow_repeats


def test_the_cases_are_the_last_event_of_every_user(left, bundle):
    protocol, metrics, _, cases = left
    interactions = bundle.interactions
    newest = interactions.starts[1:] - 1
    assert cases["user_id"].to_list() == list(interactions.user_ids)
    assert cases["item_id"].to_list() == [bundle.catalogue.item_ids[item] for item in interactions.item_idx[newest]]
    known = newest if protocol.request_time else newest - 1
    assert cases["requested_at"].to_list() == interactions.occurred_at[known].tolist()
    said = metrics["protocol"]
    assert (said["request_time"], said["allow_repeats"]) == (protocol.request_time, protocol.allow_repeats)
    assert (said["cases"], said["users"], said["catalogue"], said["seed"]) == (120, 120, 30, 3)
    assert said["bundle"] == bundle.fingerprint
    assert said["seen_targets"] == 0  # nobody of the chain world returns to an item


def test_nobody_moves_in_a_history_too_short_to_tell(left):
    _, metrics, _, _ = left
    assert metrics["groups"]["drift low"]["cases"] == 120
    assert "drift high" not in metrics["groups"]


def test_what_the_chain_world_teaches_is_found(left):
    _, metrics, _, _ = left
    figures = {name: recommender["ndcg@10"]["value"] for name, recommender in metrics["recommenders"].items()}
    assert figures["transitions"] > 0.6
    assert figures["two_tower+prior"] > 0.6
    assert figures["popularity"] < 0.3
    than = metrics["p_values"]["than"]
    assert metrics["p_values"]["better"] == "two_tower+prior"
    assert than["popularity"]["ndcg@10"] < 0.001


def test_the_same_seed_says_the_same(bundle):
    first, second = (evaluate_bundle(bundle, Protocol(), seed=3) for _ in range(2))
    assert first[0] == second[0]
    assert first[1].equals(second[1])


def test_a_report_in_a_bundle_renews_its_manifest_and_keeps_its_fingerprint(copied):
    before = read_manifest(copied)["fingerprint"]
    save_report(copied, *evaluate_bundle(load_bundle(copied), Protocol(), seed=0))
    manifest = read_manifest(copied)
    assert manifest["fingerprint"] == before
    assert {"metrics.json", "rankings.parquet", "cases.parquet"} <= manifest["files"].keys()
    assert write_manifest(copied) == before
    assert load_bundle(copied).fingerprint == before


@pytest.mark.parametrize("targets", ["next", "last", "all"])
def test_a_temporal_report_with_several_targets(interleaved, train_tiny, tmp_path, targets):
    overrides = ("train.epochs=1", "split.kind=temporal", "split.cutoff_quantile=0.7", f"split.targets={targets}")
    bundle = train_tiny(interleaved(users=80, events=9), tmp_path / "b", *overrides)
    metrics, rankings, cases = evaluate_bundle(bundle, Protocol(), seed=0)
    assert metrics["protocol"]["targets"] == targets
    assert metrics["protocol"]["cases"] == cases["user_id"].n_unique()
    assert (len(cases) > cases["user_id"].n_unique()) == (targets == "all")
    for name, figures in metrics["recommenders"].items():
        mine = rankings.filter(recommender=name)
        hits = cases.join(mine.filter(pl.col("rank") <= 10), on=["user_id", "item_id"], how="left")
        per_user = hits.group_by("user_id").agg(share=pl.col("rank").is_not_null().mean())
        assert figures["recall@10"]["value"] == pytest.approx(per_user["share"].mean(), abs=1e-12)


def test_without_validation_cases_the_baselines_keep_their_first_knob(interleaved, train_tiny, tmp_path):
    interactions, catalogue = interleaved(users=60, events=4)
    turn = np.arange(len(interactions)) - interactions.starts[interactions.user_idx]
    occurred_at = 1_700_000_000 + 86_400 * np.array([0, 1, 5, 5])[turn]  # both cutoffs fall on the last day
    two_days_then_one = replace(interactions, occurred_at=occurred_at), catalogue
    bundle = train_tiny(two_days_then_one, tmp_path / "b", "train.epochs=1", "split.kind=temporal")
    split = make_split(bundle.interactions, bundle.config.split)
    assert (len(split.validation), len(split.test)) == (0, 60)
    metrics, _, _ = evaluate_bundle(bundle, Protocol(), seed=0)
    assert metrics["recommenders"].keys() == RECOMMENDERS


def test_cold_targets_are_a_group_of_their_own(train_tiny, tmp_path):
    bundle = train_tiny(cold_world(users=60), tmp_path / "b", "train.epochs=1")
    metrics, _, cases = evaluate_bundle(bundle, Protocol(), seed=0)
    assert metrics["groups"]["target cold"]["cases"] == metrics["protocol"]["cases"] == 60
    assert cases["requested_at"].is_null().all()
    assert not metrics["protocol"]["request_time"]


def test_a_report_beside_leaves_the_bundle_alone(bundle_folder, bundle, tmp_path):
    before = shutil.copytree(bundle_folder, tmp_path / "before")
    save_report(tmp_path / "elsewhere", *evaluate_bundle(bundle, Protocol(), seed=0))
    for path in before.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (bundle_folder / path.relative_to(before)).read_bytes()
