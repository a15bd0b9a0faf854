"""What speaks for a candidate besides the towers: each number by hand, and none of it from the future."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recsys.catalogue import read_catalogue
from recsys.config import PriorConfig
from recsys.evidence import FLOOR, LEAST_SHARE, Evidence, Popularity
from recsys.histories import Histories, case_histories
from recsys.interactions import DAY_S, read_interactions
from recsys.prior import TransitionPrior
from recsys.split import keep, leave_one_out
from recsys.taxonomy import Taxonomy
from recsys.transitions import TransitionCounter
from tests.worlds import fashion_world

START = 1_600_000_000
ITEMS = {"a": ["War"], "b": ["War", "Drama"], "c": ["Drama"], "d": ["Love"], "e": []}
ROWS = [("u", "a", 0), ("u", "b", 1), ("v", "a", 3), ("v", "b", 5), ("v", "c", 9), ("w", "b", 9), ("w", "a", 9.5)]


def evidence_of(interactions, catalogue, *, returns=False):
    counter = TransitionCounter.of(interactions, PriorConfig(), num_items=len(catalogue))
    prior = TransitionPrior(counter, 0.07, weight=0.5, floor=0.01)
    return Evidence.of(interactions, Taxonomy.of(catalogue.categories), prior, returns=returns)


@pytest.fixture
def small():
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": list(ITEMS), "categories": list(ITEMS.values())}))
    rows = [(user, item, START + int(day * DAY_S)) for user, item, day in ROWS]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at"], orient="row")
    interactions, catalogue, _ = read_interactions(table, catalogue)
    return interactions, catalogue


def history(item_idx, *, days, asked):
    """One history."""
    occurred_at = START + (torch.tensor([days]) * DAY_S).long()
    asked_at = torch.roll(occurred_at, -1, 1)
    asked_at[:, -1] = START + int(asked * DAY_S)
    nothing = torch.zeros(1, len(item_idx), dtype=torch.int64)
    return Histories(torch.tensor([item_idx]), nothing, nothing.float(), occurred_at, asked_at)


def measured(evidence, candidates, told, *, vectors=None, cosines=None):
    """Kind → (C,) for one history."""
    candidates = torch.tensor([candidates])
    if vectors is None:
        vectors = torch.nn.functional.one_hot(torch.arange(int(candidates.max()) + 8)).float()
    cosines = torch.zeros(candidates.shape) if cosines is None else cosines
    found = evidence.measure(cosines, candidates, told, vectors)
    assert torch.isfinite(found).all()
    return dict(zip(evidence.names, found[0].T, strict=True))


def test_how_often_each_was_chosen_lately(small):
    found = measured(evidence_of(*small), [1, 2, 3, 4], history([3], days=[2.0], asked=9.25))
    counts = {name: found[f"chosen_{name}"].expm1().round().tolist() for name in ("day", "week", "month", "ever")}
    # On day 9¼: b and c on day 9; within the week also a on 3 and b on 5. The a of day 9½ is still to come.
    assert counts == {"day": [0, 1, 1, 0], "week": [1, 2, 1, 0], "month": [2, 3, 1, 0], "ever": [2, 3, 1, 0]}


def test_an_item_s_age_counts_from_when_it_was_chosen_first(small):
    found = measured(evidence_of(*small), [1, 2, 3, 4], history([1], days=[0.0], asked=9.25))
    np.testing.assert_allclose(found["age"].expm1(), [9.25, 8.25, 0.25, 0.0], atol=1e-4)


def test_long_after_the_rows_end_popularity_is_that_of_their_end(small):
    evidence = evidence_of(*small)
    at_end = measured(evidence, [1, 2, 3], history([4], days=[0.0], asked=9.6))
    much_later = measured(evidence, [1, 2, 3], history([4], days=[0.0], asked=900.0))
    assert torch.equal(at_end["chosen_day"], much_later["chosen_day"])


def test_interests_of_a_candidate_by_their_share_of_the_history(small):
    # Oldest first c, a, b: Drama, War, and half of each. Three events of half-life three.
    found = measured(evidence_of(*small), [1, 2, 3, 4, 5], history([3, 1, 2], days=[1.0, 2.0, 3.0], asked=4.0))
    weight = [0.5 ** (2 / 3), 0.5 ** (1 / 3), 1.0]
    drama, war = weight[0] + weight[2] / 2, weight[1] + weight[2] / 2
    shares = np.array([war, (war + drama) / 2, drama, 0.0, 0.0]) / sum(weight)
    np.testing.assert_allclose(found["interest_short"].exp() - LEAST_SHARE, shares, atol=1e-5)
    np.testing.assert_allclose(found["interest_long"].exp() - LEAST_SHARE, [0.5, 0.5, 0.5, 0, 0], atol=1e-5)


def test_steps_since_an_interest_was_met(small):
    found = measured(evidence_of(*small), [1, 3, 4], history([3, 3, 1], days=[1.0, 2.0, 3.0], asked=4.0))
    assert found["interest_gap"].expm1().round().tolist() == [0, 1, 50]


def test_habits_ask_what_follows_the_newest(small):
    found = measured(evidence_of(*small), [2, 3], history([3, 1], days=[1.0, 2.0], asked=4.0))
    share = (1 - FLOOR) * np.array([2, 0.6]) / 2.6 + FLOOR / 5  # after a: twice b at once, once c two steps on
    np.testing.assert_allclose(found["comes_next"].exp(), share, atol=1e-5)
    assert found["follows"][0] > found["follows"][1]


def test_likeness_by_the_vectors_of_the_history(small):
    vectors = torch.tensor([[0.0, 0], [1, 0], [0, 1], [0.6, 0.8], [-1, 0], [0.8, 0.6]])
    found = measured(evidence_of(*small), [3, 4], history([1, 2], days=[1.0, 2.0], asked=4.0), vectors=vectors)
    np.testing.assert_allclose(found["like_newest"], [0.8, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["like_any"], [0.8, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["like_some"], [0.7, -0.5], atol=1e-6)


def test_a_short_history_is_told_the_same_beside_a_long_one(small):
    vectors = torch.nn.functional.normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    alone = history([2], days=[1.0], asked=4.0)
    beside = replace(alone, **{name: torch.nn.functional.pad(rows, (0, 6)) for name, rows in vars(alone).items()})
    one, other = (measured(evidence_of(*small), [1, 3, 4], told, vectors=vectors) for told in (alone, beside))
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_what_came_after_training_has_no_past(small):
    found = measured(evidence_of(*small, returns=True), [1, 9], history([1, 9], days=[1.0, 2.0], asked=4.0))
    assert [float(found[name][1]) for name in ("popular", "chosen_ever", "age")] == [0, 0, 0]
    assert found["interest_long"][1] == pytest.approx(math.log(LEAST_SHARE))
    assert found["had"].expm1().round().tolist() == [1, 1]
    assert found["had_gap"].expm1().round().tolist() == [1, 0]


def test_an_empty_place_is_measured_as_a_number(small):
    told = history([1], days=[1.0], asked=4.0)
    measured(evidence_of(*small), [1, 0], told, cosines=torch.tensor([[0.5, -torch.inf]]))


def test_no_choice_at_or_after_the_request_is_counted():
    """The popularity a case is told is the one that a table ending at its request gives."""
    interactions, catalogue = fashion_world(users=60)
    cases = leave_one_out(interactions).validation
    candidates = torch.arange(1, len(catalogue) + 1)[None]
    whole = Popularity.of(interactions, num_items=len(catalogue))
    for case in range(0, len(cases), 7):
        asked_at = cases.requested_at[case : case + 1]
        past = keep(interactions, interactions.occurred_at < asked_at)
        for table in (whole, Popularity.of(past, num_items=len(catalogue))):
            now = table.as_of(asked_at)[:, None] if table is whole else asked_at[:, None]
            counts = table.before(candidates.numpy(), now) - table.before(candidates.numpy(), now - 7 * DAY_S)
            expected = [
                np.count_nonzero((past.item_idx == item) & (past.occurred_at >= asked_at - 7 * DAY_S))
                for item in candidates[0].tolist()
            ]
            assert counts[0].tolist() == expected


def test_without_clock_or_interests_those_kinds_are_left_out():
    interactions, catalogue = fashion_world(users=20)
    ordered = replace(interactions, occurred_at=None)
    names = evidence_of(ordered, catalogue).names
    assert not any(name.startswith(("chosen", "interest", "age", "had")) for name in names)
    told = case_histories(ordered, leave_one_out(ordered).test, length=10)
    vectors = torch.nn.functional.normalize(torch.randn(len(catalogue) + 1, 4), dim=1)
    candidates = torch.arange(1, 6).expand(len(told.item_idx), -1)
    found = evidence_of(ordered, catalogue).measure(torch.zeros(candidates.shape), candidates, told, vectors)
    assert found.shape == (*candidates.shape, len(names))
