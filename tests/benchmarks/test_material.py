"""What the peers read, in their terms; needs no peer."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from benchmarks.peers.judge import export_cases
from benchmarks.peers.material import mean_ndcg, read_material
from benchmarks.peers.speed import compare, first_users
from recsys.split import leave_one_out
from tests.worlds import chain_world


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    interactions, catalogue = chain_world(users=12, events=6, items=15)
    split = leave_one_out(interactions)
    folder = tmp_path_factory.mktemp("tables")
    export_cases(split, catalogue, folder, request_time=True)
    return (
        split,
        catalogue,
        read_material(**{name: folder / f"{name}.parquet" for name in ("train", "validation", "cases")}),
    )


def test_names_survive_the_way_there(world):
    split, catalogue, material = world
    for user, rows in material.cases.histories.groupby("user"):
        user_idx = split.interactions.user_index(material.user_ids[user])
        mine = split.interactions.of_user(user_idx)
        assert [catalogue.index_of(item) for item in material.item_ids[rows["item"]]] == list(
            split.interactions.item_idx[mine][:-1]
        )
        assert material.cases.requested_at[user] == split.interactions.occurred_at[mine][-1]


def test_items_of_the_training_rows_come_first(world):
    split, _, material = world
    assert material.num_items == len(np.unique(split.train.item_idx))
    assert material.train["item"].max() == material.num_items - 1
    assert material.has_clock


def test_the_cases_to_report_have_no_answer_and_those_to_choose_by_do(world):
    split, _, material = world
    assert material.cases.targets.empty
    assert len(material.validation.targets) == len(split.validation)
    joined = material.validation.histories.merge(material.validation.targets, on=["user", "item"])
    assert joined.empty


def test_thinning_keeps_whole_cases(world):
    _, _, material = world
    few = material.validation.thinned(5)
    assert list(few.users) == list(material.validation.users[::3])
    assert set(few.targets["user"]) == set(few.users) == set(few.requested_at.index)


def test_ndcg_by_hand():
    rankings = pd.DataFrame({"user": [1, 1, 2, 3], "item": [5, 6, 5, 9], "rank": [1, 3, 11, 1]})
    targets = pd.DataFrame({"user": [1, 1, 2, 4], "item": [5, 6, 5, 7]})
    # user 1: places 1 and 3 of two targets; user 2: past 10; user 4: nothing ranked.
    expected = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3)) / 3
    assert mean_ndcg(rankings, targets) == pytest.approx(expected)


def test_speed_and_memory_are_compared_one_by_one():
    readings = {
        "ours": {"events_per_second": 90.0, "peak_memory_mib": 100},
        "plain": {"events_per_second": 20.0, "peak_memory_mib": 400},
        "tuned": {"events_per_second": 30.0, "peak_memory_mib": 800},
    }
    assert compare(readings) == {
        "plain": {"times_as_fast": 4.5, "share_of_memory": 0.25},
        "tuned": {"times_as_fast": 3.0, "share_of_memory": 0.12},
    }


def test_the_first_users_keep_their_order():
    table = pl.DataFrame(
        [("b", "x", 5), ("a", "y", 3), ("b", "z", 2), ("c", "x", 1), ("a", "z", 3)],
        schema=["user_id", "item_id", "occurred_at"],
        orient="row",
    )
    assert first_users(table, 2).rows() == [("c", "x", 0), ("b", "z", 0), ("b", "x", 1)]
