"""What a peer is handed, and what its rankings are worth."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.peers.exchange import LISTED
from benchmarks.peers.judge import PYTHON, export_cases, judged, run_peers
from recsys.config import SplitConfig
from recsys.errors import InputError
from recsys.interactions import read_interactions
from recsys.metrics import ndcg
from recsys.split import leave_one_out, temporal

# ada, ben and cleo; dan has too few events to be asked. Rows are mixed, and cleo's last two share an instant.
TABLE = pl.DataFrame(
    [
        ("ada", "tea", 10),
        ("ben", "ink", 11),
        ("ada", "pen", 20),
        ("cleo", "tea", 21),
        ("dan", "ink", 22),
        ("ben", "tea", 30),
        ("ada", "ink", 31),
        ("cleo", "pen", 40),
        ("cleo", "cup", 50),
        ("ben", "pen", 51),
        ("ada", "cup", 60),
        ("cleo", "ink", 50),
    ],
    schema=["user_id", "item_id", "occurred_at"],
    orient="row",
)


@pytest.fixture
def world():
    interactions, catalogue, _ = read_interactions(TABLE)
    return leave_one_out(interactions), catalogue


def ranked(folder, rows):
    path = folder / "rankings.parquet"
    pl.DataFrame(rows, schema=["user_id", "item_id", "rank", "score"], orient="row").write_parquet(path)
    return path


def test_a_peer_is_handed_what_came_before_and_never_the_answer(world, tmp_path):
    split, catalogue = world
    export_cases(split, catalogue, tmp_path, request_time=True)
    train, validation, cases = (
        pl.read_parquet(tmp_path / f"{name}.parquet") for name in ("train", "validation", "cases")
    )
    assert train.columns == ["user_id", "item_id", "occurred_at"]
    assert sorted(train.rows()) == [
        ("ada", "pen", 20),
        ("ada", "tea", 10),
        ("ben", "ink", 11),
        ("cleo", "pen", 40),
        ("cleo", "tea", 21),
        ("dan", "ink", 22),
    ]
    assert cases.columns == ["user_id", "item_id", "occurred_at", "requested_at"]
    assert cases.rows() == [
        ("ada", "tea", 10, 60),
        ("ada", "pen", 20, 60),
        ("ada", "ink", 31, 60),
        ("ben", "ink", 11, 51),
        ("ben", "tea", 30, 51),
        ("cleo", "tea", 21, 50),
        ("cleo", "pen", 40, 50),
        ("cleo", "cup", 50, 50),
    ]
    assert validation.filter("target").rows() == [
        ("ada", "ink", 31, 31, True),
        ("ben", "tea", 30, 30, True),
        ("cleo", "cup", 50, 50, True),
    ]
    assert validation.filter(~pl.col("target")).select("user_id", "item_id", "requested_at").rows() == [
        ("ada", "tea", 31),
        ("ada", "pen", 31),
        ("ben", "ink", 30),
        ("cleo", "tea", 50),
        ("cleo", "pen", 50),
    ]


def test_without_request_time_the_newest_event_stands_in(world, tmp_path):
    split, catalogue = world
    export_cases(split, catalogue, tmp_path, request_time=False)
    asked = pl.read_parquet(tmp_path / "cases.parquet").select("user_id", "requested_at").unique()
    assert dict(asked.rows()) == {"ada": 31, "ben": 30, "cleo": 50}


def test_an_order_without_a_clock_is_handed_over_as_positions(tmp_path):
    table = TABLE.sort("user_id", "occurred_at", maintain_order=True).rename({"occurred_at": "position"})
    interactions, catalogue, _ = read_interactions(table)
    export_cases(leave_one_out(interactions), catalogue, tmp_path, request_time=True)
    cases = pl.read_parquet(tmp_path / "cases.parquet")
    assert cases.filter(pl.col("user_id") == "ada").rows() == [
        ("ada", "tea", 0, None),
        ("ada", "pen", 1, None),
        ("ada", "ink", 2, None),
    ]


def test_a_temporal_case_may_know_more_than_was_trained_on(tmp_path):
    interactions, catalogue, _ = read_interactions(TABLE)
    split = temporal(interactions, SplitConfig(kind="temporal", cutoff_quantile=0.6, targets="last"))
    export_cases(split, catalogue, tmp_path, request_time=True)
    known = pl.read_parquet(tmp_path / "cases.parquet").filter(pl.col("user_id") == "cleo")
    assert known["item_id"].to_list() == ["tea", "pen", "cup"]
    assert pl.read_parquet(tmp_path / "train.parquet")["occurred_at"].max() < 40


def test_ranks_ties_masks_and_what_is_missing(world, tmp_path):
    split, catalogue = world
    path = ranked(
        tmp_path,
        [
            ("ada", "pen", 1, 0.9),  # ada has it already: it is masked, and cup is first
            ("ada", "cup", 2, 0.8),
            ("ben", "cup", 1, 0.5),  # ties with pen, the target: both stand at 1.5
            ("ben", "pen", 2, 0.5),
        ],  # nothing for cleo
    )
    one = judged(path, split, catalogue)
    np.testing.assert_array_equal(one.ranks, [1.0, 1.5, np.inf])
    gains = ndcg(one.ranks, split.test.target_cases, k=10)
    np.testing.assert_allclose(gains, [1.0, 1 / np.log2(2.5), 0.0])
    assert [[catalogue.item_ids[idx] for idx in row if idx] for row in one.item_idx] == [["cup"], ["pen", "cup"], []]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("eve", "tea", 1, 0.5)], "user_id 'eve' is not in the table"),
        ([("ada", "jam", 1, 0.5)], "item_id 'jam' is not in the table"),
        ([("ada", "cup", 1, 0.5), ("ada", "cup", 2, 0.4)], "the same item twice"),
    ],
)
def test_rankings_of_something_else_are_refused(world, tmp_path, rows, says):
    split, catalogue = world
    with pytest.raises(InputError, match=says):
        judged(ranked(tmp_path, rows), split, catalogue)


@pytest.mark.parametrize(
    ("first", "last", "rank"),
    [
        (199, 201, 200.0),
        (200, 201, np.inf),  # 200.5
        (151, 240, 195.5),
        (1, 399, 200.0),
        (1, LISTED, np.inf),  # it goes on behind the end of the list, who knows how far
    ],
)
def test_a_tie_counts_as_it_would_on_the_whole_catalogue(tmp_path, first, last, rank):
    items = [f"i{number}" for number in range(1, LISTED + 20)]
    target = items[last - 1]
    rows = [("ada", item, at) for at, item in enumerate(["x", "y", target])]
    rows += [("ben", item, at) for at, item in enumerate(items)]
    interactions, catalogue, _ = read_interactions(
        pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    )
    scores = [-float(first if first <= place <= last else place) for place in range(1, LISTED + 1)]
    path = ranked(tmp_path, [("ada", items[at], at + 1, score) for at, score in enumerate(scores)])
    assert judged(path, leave_one_out(interactions), catalogue).ranks[0] == rank


def test_what_was_run_before_is_not_run_again_and_other_tables_are_refused(world, tmp_path):
    split, catalogue = world
    digests = export_cases(split, catalogue, tmp_path, request_time=True)
    (tmp_path / "ease").mkdir()
    ranked(tmp_path / "ease", [("ada", "cup", 1, 0.8)])
    facts = {"tables_sha256": digests, "seconds": 1.0, "capped": True, "minutes_allowed": 30}
    (tmp_path / "ease" / "run.json").write_text(json.dumps(facts))
    nowhere = Path("no/such/python")
    done = run_peers(split, catalogue, ["ease"], tmp_path, request_time=True, python=nowhere)
    assert done["ease"].judged.ranks[0] == 1.0
    assert done["ease"].facts["seconds"] == 1.0
    with pytest.raises(InputError, match=r"make \.venv-recommenders/installed"):
        run_peers(split, catalogue, ["ials"], tmp_path, request_time=True, python=nowhere)
    with pytest.raises(InputError, match="no such interpreter"):  # its time was up, and now there is more
        run_peers(split, catalogue, ["ease"], tmp_path, request_time=True, minutes=31, python=nowhere)
    with pytest.raises(InputError, match="rankings of other tables"):
        run_peers(split, catalogue, ["ease"], tmp_path, request_time=False, python=nowhere)


def test_the_interpreter_is_the_one_the_makefile_makes():
    assert f"{PYTHON.parents[1]}/installed:" in Path("Makefile").read_text(encoding="utf-8")
