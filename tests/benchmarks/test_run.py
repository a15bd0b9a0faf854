"""The peers themselves, in their own environment, on a world whose answer is known."""

import json
import subprocess

import numpy as np
import polars as pl
import pytest

from benchmarks.peers.exchange import PEERS
from benchmarks.peers.judge import PYTHON, run_peers
from recsys.interactions import read_interactions
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
    if "curve" in facts:
        assert max(epoch["validation_ndcg@10"] for epoch in facts["curve"]) == pytest.approx(
            facts["validation_ndcg@10"], abs=1e-4
        )


def test_cutting_padding_changes_no_loss_and_no_gradient():
    said = subprocess.run(
        [PYTHON, "-m", "tests.benchmarks.padding_oracle"], capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(said.splitlines()[-1])
    for figures in found["gaps"].values():
        assert figures["loss"] > 0.1
        assert figures["loss_gap"] < 1e-5
        assert figures["gradient_gap"] < 1e-5 * max(1, figures["gradient"])
    assert sorted(map(tuple, found["batches"])) == [(0, 2, 4, 6), (1, 3, 5, 7)]


def gap_world(users=400, events=8, items=60):
    """Items on a ring: after a minute one on, after a month seven. The gap before the request settles the next item."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(users):
        place, now = int(rng.integers(items)), 1_600_000_000 + int(rng.integers(10**6))
        for _ in range(events):
            rows.append((f"u{user}", f"i{place % items}", now))
            soon = bool(rng.integers(2))
            place, now = place + (1 if soon else 7), now + (60 if soon else 30 * 86_400)
    return read_interactions(pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at"], orient="row"))


def test_the_instant_of_the_request_reaches_hstu(tmp_path):
    interactions, catalogue, _ = gap_world()
    split = leave_one_out(interactions)
    told, untold = (
        run_peers(split, catalogue, ["hstu"], tmp_path / str(known), request_time=known, minutes=0.6)["hstu"]
        for known in (True, False)
    )
    found = [recall(peer.judged.ranks, split.test.target_cases, k=1).mean() for peer in (told, untold)]
    assert found[0] > 0.85
    assert found[1] < 0.65
