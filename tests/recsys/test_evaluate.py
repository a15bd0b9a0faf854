"""Judging: the same masks and ties for all, lists' figures by hand, and groups."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recsys.catalogue import Catalogue
from recsys.evaluate import Judged, judge, target_ranks
from recsys.figures import Ground, cases_frame, rankings_frame, report
from recsys.interactions import read_interactions
from recsys.lists import gini
from recsys.ranking import OUT, expected_ranks, mask_seen
from recsys.split import Cases, leave_one_out
from recsys.taxonomy import Taxonomy
from tests.worlds import chain_world, drift_world

ITEMS = ("ant", "bee", "cow", "dog", "eel")
CATALOGUE = Catalogue(
    item_ids=["", *ITEMS], categories=[(), ("small", "land"), ("small", "air"), ("land",), ("land",), ()]
)
# ann: ant, bee, cow → dog; bob: ant, ant, bee → eel; cat: dog, eel, ant → bee. The second-last is validation's.
VISITS = [
    *(("ann", item, at) for at, item in enumerate(["ant", "bee", "cow", "dog"])),
    *(("bob", item, at) for at, item in enumerate(["ant", "ant", "bee", "eel"])),
    *(("cat", item, at) for at, item in enumerate(["dog", "eel", "ant", "bee"])),
]


@pytest.fixture(scope="module")
def split():
    table = pl.DataFrame(VISITS, schema=["user_id", "item_id", "position"], orient="row")
    interactions, _, _ = read_interactions(table, CATALOGUE, keep_duplicates=True)
    return leave_one_out(interactions)


@pytest.fixture(scope="module")
def ground(split):
    counts = np.bincount(split.train.item_idx, minlength=6)
    assert counts.tolist() == [0, 3, 1, 0, 1, 1]
    return Ground(split.interactions, CATALOGUE, split.test, counts, seed=0)


def judged(lists, ranks=(1.0, 1.0, 1.0)):
    places = np.arange(1.0, len(lists[0]) + 1) + np.zeros((len(lists), 1))
    return Judged(np.array(ranks), np.array(lists), places, -places.astype(np.float32))


def always(scores):
    return lambda cases: torch.tensor([scores]).repeat(len(cases), 1)


def test_what_a_user_has_is_not_ranked(split):
    one = judge(always([9.0, 5.0, 4.0, 3.0, 2.0, 1.0]), split.test, split.interactions)
    assert one.item_idx.tolist() == [[4, 5, 0], [3, 4, 5], [2, 3, 0]]
    assert one.ranks.tolist() == [1.0, 3.0, 1.0]


def test_repeats_are_ranked_where_they_are_allowed(split):
    one = judge(always([9.0, 5.0, 4.0, 3.0, 2.0, 1.0]), split.test, split.interactions, allow_repeats=True)
    assert one.item_idx.tolist() == [[1, 2, 3, 4, 5]] * 3
    assert one.ranks.tolist() == [4.0, 5.0, 2.0]


def test_ties_count_as_the_expected_rank(split):
    one = judge(always([9.0, 5.0, 4.0, 2.0, 2.0, 2.0]), split.test, split.interactions)
    assert one.ranks.tolist() == [1.5, 2.0, 1.0]
    assert one.list_ranks[1].tolist() == [2.0, 2.0, 2.0]


def test_a_target_that_may_not_be_recommended_is_never_a_hit(split):
    cases = split.test
    repeated = Cases(cases.user_idx, cases.starts, cases.stops, cases.starts, cases.target_cases, None)
    one = judge(always([0.0, 5.0, 4.0, 3.0, 2.0, 1.0]), repeated, split.interactions)
    assert np.isinf(one.ranks).all()


def test_what_is_not_a_number_is_not_recommended(split):
    one = judge(always([0.0, 5.0, 4.0, float("nan"), 2.0, 1.0]), split.test, split.interactions)
    assert one.item_idx.tolist() == [[4, 5], [4, 5], [2, 0]]


@pytest.mark.parametrize("allow_repeats", [False, True])
def test_chunks_change_nothing_and_ranks_equal_brute_force(monkeypatch, allow_repeats):
    interactions, _ = chain_world(users=30, events=6, items=12)
    cases = leave_one_out(interactions).test
    table = torch.randint(0, 4, (len(cases), 13), generator=torch.Generator().manual_seed(0)).float()  # many ties

    def score(part):
        return table[torch.from_numpy(part.user_idx)].clone()

    whole = judge(score, cases, interactions, allow_repeats=allow_repeats)
    ranks = target_ranks(score, cases, interactions, allow_repeats=allow_repeats)
    monkeypatch.setattr("recsys.evaluate.CASES_AT_ONCE", 7)
    parts = judge(score, cases, interactions, allow_repeats=allow_repeats)
    for name in ("ranks", "item_idx", "list_ranks"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    scores = table.clone()
    scores[:, 0] = OUT
    if not allow_repeats:
        mask_seen(scores, interactions, cases)
    targets = torch.from_numpy(interactions.item_idx[cases.target_rows].astype(np.int64))
    expected = expected_ranks(scores, torch.from_numpy(cases.target_cases), targets).numpy()
    np.testing.assert_array_equal(whole.ranks, expected)
    np.testing.assert_array_equal(ranks, expected)


def figures_of(lists, ground, metric, ranks=(1.0, 1.0, 1.0)):
    said = report({"one": judged(lists, ranks), "two": judged(lists, ranks)}, ground, {}, best="one")
    return said["recommenders"]["one"][metric]


def test_coverage_by_hand(ground):
    assert figures_of([[1, 2], [1, 3], [2, 0]], ground, "coverage@10")["value"] == 3 / 5


def test_gini_by_hand(ground):
    # Shown 2, 2, 1, 0, 0 times: half the mean absolute difference over the mean is 12 / (5 · 5).
    assert figures_of([[1, 2], [1, 3], [2, 0]], ground, "gini@10")["value"] == pytest.approx(12 / 25)
    shown = np.array([7, 0, 2, 2])
    pairs = np.abs(shown[:, None] - shown).sum() / (2 * len(shown) * shown.sum())
    assert gini(shown) == pytest.approx(pairs)
    assert gini(np.zeros(3, np.int64)) == 0.0


def test_novelty_by_hand(ground):
    # Of 6 training rows, one more for each of the 6 catalogue rows: ant has 4 of 12, cow 1 of 12.
    novelty = figures_of([[1, 3], [1, 0], [3, 0]], ground, "novelty@10")["value"]
    ant, cow = np.log2(12 / 4), np.log2(12 / 1)
    assert novelty == pytest.approx(((ant + cow) / 2 + ant + cow) / 3)


def test_popularity_lift_by_hand(ground):
    # Histories' mean training counts: ann (ant, bee, cow) 4/3; bob (ant, ant, bee) 7/3; cat (dog, eel, ant) 5/3.
    lift = figures_of([[1, 4], [1, 0], [3, 0]], ground, "popularity_lift@10")["value"]
    assert lift == pytest.approx(((2 / (4 / 3) - 1) + (3 / (7 / 3) - 1) + (0 - 1)) / 3)


def test_a_history_of_cold_items_has_no_popularity_to_lift(ground):
    nobody = Ground(ground.interactions, CATALOGUE, ground.cases, np.array([0, 0, 0, 0, 4, 0]), seed=0)
    # ann and bob had only what nobody was trained on; cat's mean is 4/3 and dog's count 4.
    assert figures_of([[4, 0], [4, 0], [4, 0]], nobody, "popularity_lift@10")["value"] == pytest.approx(2 / 3)


def test_diversity_by_hand(ground):
    # 1 − Jaccard: ant–bee 1 − 1/3, ant–cow 1 − 1/2, bee–cow 1; cow–dog 0; eel has none, unlike any that has some.
    lists = [[1, 2, 3], [3, 4, 0], [4, 5, 0]]
    assert figures_of(lists, ground, "diversity@10")["value"] == pytest.approx(((2 / 3 + 1 / 2 + 1) / 3 + 0 + 1) / 3)


def test_two_items_without_categories_are_alike(ground):
    bare = Catalogue(item_ids=["", *ITEMS], categories=[(), ("small",), (), (), ("land",), ()])
    lists = [[2, 3, 0], [2, 4, 0], [2, 0, 0]]
    figure = figures_of(lists, replace(ground, catalogue=bare), "diversity@10")
    assert figure["value"] == pytest.approx((0 + 1 + 0) / 3)


def test_a_catalogue_without_categories_has_no_diversity(ground):
    plain = Ground(ground.interactions, Catalogue(item_ids=["", *ITEMS]), ground.cases, ground.counts, seed=0)
    said = report({"a": judged([[1], [2], [3]]), "b": judged([[1], [2], [3]])}, plain, {}, best="a")
    assert "diversity@10" not in said["recommenders"]["a"]


def test_groups_by_hand():
    # 40 training rows: a has half of them, then b and c reach eight tenths, d and e follow; f was never chosen.
    counts = np.array([0, 20, 8, 4, 4, 4, 0])
    catalogue = Catalogue(item_ids=["", *"abcdef"])
    lengths = (3, 9, 10, 49, 50, 199, 200)
    targets = "abcdefa"
    rows = []
    for user, (length, target) in enumerate(zip(lengths, targets, strict=True)):
        rows += [(f"u{user}", "f" if target != "f" else "a", at) for at in range(length)] + [
            (f"u{user}", target, length)
        ]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "position"], orient="row")
    interactions, _, _ = read_interactions(table, catalogue, keep_duplicates=True)
    ground = Ground(interactions, catalogue, leave_one_out(interactions).test, counts, seed=0)
    ranks = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    one = judged([[1]] * 7, ranks)
    groups = report({"one": one, "two": one}, ground, {}, best="one")["groups"]
    reciprocal = {
        "history 1-9": [1, 2],
        "history 10-49": [3, 4],
        "history 50-199": [5, 6],
        "history 200+": [7],
        "target head": [1, 7],
        "target middle": [2, 3],
        "target tail": [4, 5],
        "target cold": [6],
    }
    assert groups.keys() == reciprocal.keys()
    for group, its_ranks in reciprocal.items():
        assert groups[group]["cases"] == len(its_ranks)
        mean = sum(1 / rank for rank in its_ranks) / len(its_ranks)
        assert groups[group]["one"]["mrr@10"]["value"] == pytest.approx(mean)


def test_users_who_moved_are_a_group_of_their_own():
    (stay, catalogue, _), (move, _, _) = (drift_world(users=12, switches=switches, seed=2) for switches in (0, 1))
    taxonomy = Taxonomy.of(catalogue.categories)
    for interactions, group, most in ((stay, "drift low", 12), (move, "drift high", 12)):
        cases = leave_one_out(interactions).test
        counts = np.ones(len(catalogue) + 1, dtype=np.int64)
        ground = Ground(interactions, catalogue, cases, counts, seed=0, taxonomy=taxonomy)
        one = judged([[1]] * 12, [2.0] * 12)
        groups = report({"one": one, "two": one}, ground, {}, best="one")["groups"]
        told = {name: its["cases"] for name, its in groups.items() if name.startswith("drift")}
        assert sum(told.values()) == most
        assert told[group] >= 11
        assert groups[group]["one"]["mrr@10"]["value"] == 0.5


def test_intervals_hold_the_value_and_p_values_tell_better_from_same(ground):
    lists = [[1, 2], [1, 3], [2, 0]]
    good, bad = judged(lists, (1.0, 1.0, 1.0)), judged(lists, (9.0, 8.0, np.inf))
    said = report({"good": good, "same": good, "bad": bad}, ground, {"seed": 0}, best="good")
    assert said["protocol"] == {"seed": 0}
    assert said["p_values"]["better"] == "good"
    assert said["p_values"]["than"]["same"]["ndcg@10"] == 1.0
    assert said["p_values"]["than"]["bad"]["ndcg@10"] == 1 / 10_001
    for figures in said["recommenders"].values():
        for figure in figures.values():
            assert figure["low"] <= figure["value"] <= figure["high"] or figure["low"] <= figure["high"]
    mrr = said["recommenders"]["bad"]["mrr@10"]
    assert 0 == mrr["low"] < mrr["value"] < mrr["high"]
    assert mrr["value"] == pytest.approx((1 / 9 + 1 / 8) / 3)


def test_the_rankings_table(ground, split):
    one = judge(always([9.0, 5.0, 4.0, 2.0, 2.0, 1.0]), split.test, split.interactions)
    frame = rankings_frame({"one": one}, ground)
    assert frame.columns == ["recommender", "user_id", "item_id", "rank", "score"]
    assert frame.rows() == [
        ("one", "ann", "dog", 1.0, 2.0),
        ("one", "ann", "eel", 2.0, 1.0),
        ("one", "bob", "cow", 1.5, 2.0),
        ("one", "bob", "dog", 1.5, 2.0),
        ("one", "bob", "eel", 3.0, 1.0),
        ("one", "cat", "bee", 1.0, 4.0),
        ("one", "cat", "cow", 2.0, 2.0),
    ]


def test_the_cases_table(ground):
    frame = cases_frame(ground)
    assert frame.rows() == [("ann", "dog", None), ("bob", "eel", None), ("cat", "bee", None)]
    assert frame.schema == {"user_id": pl.String, "item_id": pl.String, "requested_at": pl.Int64}
