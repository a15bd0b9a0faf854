"""The peers themselves, in their own environment, on a world whose answer is known."""

import json
import subprocess

import polars as pl
import pytest

from benchmarks.peers.exchange import PEERS
from benchmarks.peers.judge import PYTHON, run_peers
from recsys.metrics import recall
from recsys.split import leave_one_out
from tests.worlds import chain_world

needs_peers = pytest.mark.skipif(
    not PYTHON.exists(), reason="the peers' environment is not installed: make .venv-recommenders/installed"
)
pytestmark = [pytest.mark.slow, needs_peers]


@pytest.fixture(scope="module")
def run_once(tmp_path_factory):
    """Every peer for a few seconds on a chain: item i is followed by i + 1 four times in five."""
    interactions, catalogue = chain_world(users=300, items=30)
    split = leave_one_out(interactions)
    folder = tmp_path_factory.mktemp("peers")
    return split, run_peers(split, catalogue, PEERS, folder, request_time=True, minutes=0.2), folder


@pytest.mark.parametrize(("peer", "least"), [("sasrec", 0.5), ("esasrec", 0.5), ("hstu", 0.5), ("bert4rec", 0.3)])
def test_a_peer_that_reads_the_order_finds_the_next_item(run_once, peer, least):
    split, done, _ = run_once
    assert recall(done[peer].judged.ranks, split.test.target_cases, k=1).mean() > least


@pytest.mark.parametrize("peer", ["ease", "ials", "item_knn"])
def test_a_peer_without_an_order_still_finds_the_neighbourhood(run_once, peer):
    split, done, _ = run_once
    assert recall(done[peer].judged.ranks, split.test.target_cases, k=5).mean() > 0.5  # by chance 5 of 21


@pytest.mark.parametrize("peer", PEERS)
def test_it_leaves_whole_rankings_of_what_users_do_not_have(run_once, peer):
    split, _, folder = run_once
    rankings = pl.read_parquet(folder / peer / "rankings.parquet")
    history = pl.read_parquet(folder / "cases.parquet")
    assert rankings.join(history, on=["user_id", "item_id"]).is_empty()
    assert rankings["user_id"].n_unique() == len(split.test)
    # The user's whole history is known at the request, the validation item too: 30 items less 8.
    assert rankings.group_by("user_id").len()["len"].unique().to_list() == [22]
    assert (rankings.sort("user_id", "rank").group_by("user_id").agg(pl.col("score").diff().max())["score"] <= 0).all()


@pytest.mark.parametrize("peer", PEERS)
def test_it_says_how_its_rankings_came_about(run_once, peer):
    _, done, _ = run_once
    facts = done[peer].facts
    assert facts["peer"] == peer
    assert 0 < facts["validation_ndcg@10"] <= 1
    assert facts["items_known"] == 30
    assert facts["training_events_per_second"] > 0
    assert facts["peak_memory_mib"] > 50
    assert facts["seconds"] > 0
    assert isinstance(facts["capped"], bool)
    assert facts["versions"]["rectools"]
    if "courses" in facts:
        reached = [epoch["validation_ndcg@10"] for course in facts["courses"] for epoch in course["curve"]]
        assert max(reached) == pytest.approx(facts["validation_ndcg@10"], abs=1e-4)


@pytest.fixture(scope="module")
def probes():
    """What tests/benchmarks/rectools_probes.py sees inside RecTools."""
    command = [PYTHON, "-m", "tests.benchmarks.rectools_probes"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(said.splitlines()[-1])


def test_cutting_padding_changes_no_loss_and_no_gradient(probes):
    found = probes["padding"]
    assert set(found["gaps"]) == {"SASRecModel", "BERT4RecModel", "HSTUModel"}
    for figures in found["gaps"].values():
        assert figures["loss"] > 0.1
        assert figures["loss_gap"] < 1e-5
        assert figures["gradient"] > 1e-3
        assert figures["gradient_gap"] < 1e-5
    assert sorted(map(tuple, found["batches"])) == [(0, 2, 4, 6), (1, 3, 5, 7)]


def test_the_instant_of_the_request_reaches_hstu(probes):
    assert probes["request_time"]["same"] == 0
    assert probes["request_time"]["later"] > 1e-3
