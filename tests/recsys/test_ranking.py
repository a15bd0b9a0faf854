"""Expected ranks and best-k lists against brute force, ties above all."""

import itertools

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.interactions import read_interactions
from recsys.ranking import OUT, expected_ranks, mask_seen, ranked_up_to, top_k
from recsys.split import leave_one_out

few_values = st.sampled_from([0.0, 0.25, 0.5, 1.0, OUT])
rows = st.lists(few_values, min_size=3, max_size=6)


def mean_rank(row, item):
    """The rank averaged over every order that sorting by score allows."""
    orders = [
        order
        for order in itertools.permutations(range(len(row)))
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order))
    ]
    return sum(order.index(item) + 1 for order in orders) / len(orders)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_the_expected_rank_is_the_mean_over_all_orders(row):
    scores = torch.tensor([row])
    items = torch.arange(len(row))
    found = expected_ranks(scores, torch.zeros(len(row), dtype=torch.int64), items).tolist()
    for item, score in enumerate(row):
        assert found[item] == (len(row) - 1 if score == OUT else mean_rank(row, item))


def test_each_target_is_looked_up_in_its_own_case():
    scores = torch.tensor([[OUT, 3.0, 2.0, 1.0], [OUT, 1.0, 2.0, 3.0]])
    assert expected_ranks(scores, torch.tensor([1, 0, 1]), torch.tensor([1, 1, 2])).tolist() == [3.0, 1.0, 2.0]


def test_a_target_that_is_masked_or_not_a_number_is_last():
    scores = torch.tensor([[OUT, float("nan"), OUT, 1.0, 0.5]])
    assert expected_ranks(scores, torch.tensor([0, 0]), torch.tensor([1, 2])).tolist() == [4.0, 4.0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(few_values, min_size=7, max_size=7), min_size=1, max_size=4), st.integers(1, 9))
def test_the_best_k_break_ties_by_item(rows, k):
    scores = torch.tensor(rows)
    item_idx, best = top_k(scores, k)
    for row, (items, values) in enumerate(zip(item_idx.tolist(), best.tolist(), strict=True)):
        order = sorted(range(7), key=lambda item: (-rows[row][item], item))[:k]
        assert values == [rows[row][item] for item in order]
        assert items == [0 if rows[row][item] == OUT else item for item in order]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(few_values, min_size=8, max_size=8), min_size=1, max_size=4), st.integers(1, 9))
def test_a_list_holds_whole_ties_with_expected_ranks_up_to_k(rows, k):
    scores = torch.tensor(rows)
    scores[:, 0] = OUT
    item_idx, ranks, best = ranked_up_to(scores, k)
    for row in range(len(rows)):
        values = scores[row].tolist()
        items = sorted((item for item in range(8) if values[item] != OUT), key=lambda item: (-values[item], item))
        true = {
            item: 1 + sum(v > values[item] for v in values) + (values.count(values[item]) - 1) / 2 for item in items
        }
        kept = [item for item in items if true[item] <= k]
        assert item_idx[row].tolist() == kept + [0] * (item_idx.shape[1] - len(kept))
        assert ranks[row, : len(kept)].tolist() == [true[item] for item in kept]
        assert best[row, : len(kept)].tolist() == [values[item] for item in kept]


def test_who_scores_everything_alike_ranks_nothing():
    scores = torch.zeros(2, 301)
    scores[:, 0] = OUT
    assert ranked_up_to(scores, 100)[0].shape[1] == 0
    assert (ranked_up_to(scores, 200)[1] == 150.5).all()


@pytest.mark.parametrize("order", ["occurred_at", "position"])
def test_what_the_history_holds_is_masked_and_nothing_else(order):
    visits = [("a", "x", 1), ("a", "y", 2), ("a", "x", 3), ("b", "y", 1), ("b", "z", 2), ("b", "x", 3)]
    table = pl.DataFrame(visits, schema=["user_id", "item_id", order], orient="row")
    interactions, _, _ = read_interactions(table)
    masked = mask_seen(torch.zeros(2, 4), interactions, leave_one_out(interactions).test)
    # a had x and y (the target x among them), b had y and z.
    np.testing.assert_array_equal(masked.numpy() == OUT, [[False, True, True, False], [False, False, True, True]])


def test_seen_by_some_events_is_what_those_happened_with():
    rows = [
        ("u", "a", 1, "view"),
        ("u", "b", 2, "buy"),
        ("u", "a", 3, "cart"),
        ("u", "c", 4, "buy"),
        ("u", "c", 5, "buy"),
    ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position", "event"], orient="row")
    interactions, _, _ = read_interactions(table)
    cases = leave_one_out(interactions).test  # the history is a, b, a, c
    for seen_by, masked in ((None, "abc"), (["buy"], "bc"), (["cart", "view"], "a"), (["wish"], ""), ([], "")):
        scores = mask_seen(torch.zeros(1, 4), interactions, cases, seen_by=seen_by)
        assert (
            "".join(name for name, score in zip("abc", scores[0, 1:].tolist(), strict=True) if score == OUT) == masked
        )
