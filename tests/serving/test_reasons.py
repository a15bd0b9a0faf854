import dataclasses

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn import functional

from recsys.histories import Histories
from recsys.recommend import Ranking, Recommender, exact_search
from recsys.transitions import TransitionCounter
from serving.reasons import carried_by, explain
from serving.schemas import Carrier


def carrier(item_idx, weight):
    return Carrier(item_id=str(item_idx), title="", weight=weight)


def reasons_of(bundle, history, ranking, *, carrier=carrier):
    """Of a ranking that nothing has rearranged."""
    vectors = torch.from_numpy(bundle.item_vectors)
    vectors = functional.pad(vectors, (0, bundle.config.width - vectors.shape[1]))
    recommender = Recommender(bundle.model, vectors, None, 200, exact_search(vectors))
    nothing = torch.zeros(1, len(history), dtype=torch.int64)
    told = Histories(torch.from_numpy(history)[None], nothing, nothing + torch.nan, nothing, nothing)
    return explain(
        bundle,
        told,
        ranking,
        recommender=recommender,
        places=np.arange(len(ranking.item_idx)),
        carrier=carrier,
        interests=lambda item_idx: (),
    )


@pytest.fixture
def counter():
    counts = np.zeros((6, 6), np.float32)
    counts[1, 4], counts[2, 4], counts[3, 4], counts[2, 5] = 8, 4, 2, 3
    return TransitionCounter(sparse.csr_matrix(counts), history_decay=0.5, history_items=3)


def test_an_item_that_came_twice_carries_twice_and_old_events_nothing(counter):
    # Newest first: 2 (×1), 1 (×½), 2 (×¼); the 3 before them is too old to be asked.
    items, parts = carried_by(counter, np.array([3, 2, 1, 2]), np.array([4, 5]))
    assert items.tolist() == [1, 2]
    assert parts.tolist() == [[4.0, 0.0], [4 + 1.0, 3 + 0.75]]


def test_carried_by_is_the_sum_of_part_of(bundle):
    counter = bundle.prior.counter
    rng = np.random.default_rng(0)
    history, candidates = rng.integers(1, 41, 30), rng.permutation(40)[:7] + 1
    items, parts = carried_by(counter, history, candidates)
    slow = {
        (item, candidate): sum(
            counter.part_of(int(event), int(candidate), steps_back)
            for steps_back, event in enumerate(history[::-1])
            if event == item
        )
        for item in items
        for candidate in candidates
    }
    assert parts == pytest.approx(np.array([[slow[item, candidate] for candidate in candidates] for item in items]))
    assert parts.any()


def test_the_strongest_carriers_are_named_with_their_share(bundle, counter):
    prior = dataclasses.replace(bundle.prior, counter=counter, weight=1.0, temperature=0.5)
    small = dataclasses.replace(bundle, prior=prior, item_vectors=np.eye(6, dtype=np.float32))
    ranking = Ranking(np.array([4, 5, 3]), np.array([2.0, 1.5, 0.0], np.float32), np.array([0.75, 0.5, 0], np.float32))
    first, second, third = reasons_of(small, np.array([3, 1, 2]), ranking)
    # Of 4: 2 brings 4, 1 brings 8 / 2, 3 brings 2 / 4; the weakest is not named, but counts in the whole.
    assert [(one.item_id, one.weight) for one in first.followed] == [("1", 4 / 8.5), ("2", 4 / 8.5)]
    assert [(one.item_id, one.weight) for one in second.followed] == [("2", 1.0)]
    assert third.followed == []
    assert (first.cosine, first.prior) == (0.75, 0.5)  # 2 − 0.75 / 0.5
    assert (second.cosine, second.prior) == (0.5, 0.5)


def test_the_nearest_item_of_the_history_is_named_with_its_cosine(bundle):
    vectors = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6]], np.float32)
    small = dataclasses.replace(bundle, prior=None, item_vectors=vectors)
    ranking = Ranking(np.array([3, 4]), np.zeros(2, np.float32), np.zeros(2, np.float32))
    to_three, to_four = reasons_of(small, np.array([1, 2]), ranking)
    assert [(one.item_id, one.weight) for one in to_three.alike] == [("2", pytest.approx(0.8))]
    assert [(one.item_id, one.weight) for one in to_four.alike] == [("1", pytest.approx(0.8))]
    assert to_three.prior is None
    assert to_three.followed == []


def test_what_carried_is_named_with_what_the_score_loses(bundle):
    history = bundle.interactions.item_idx[:6].astype(np.int64)
    ranking = Ranking(np.array([20, 30]), np.zeros(2, np.float32), np.zeros(2, np.float32))
    for one in reasons_of(bundle, history, ranking):
        weights = [named.weight for named in one.carried]
        assert weights == sorted(weights, reverse=True)
        assert all(weight > 0 for weight in weights)
        assert {named.item_id for named in one.carried} <= {str(item) for item in history}


def test_behind_the_candidates_the_prior_has_no_part(bundle):
    knobs = bundle.config.prior.model_copy(update={"num_candidates": 1})
    small = dataclasses.replace(bundle, config=bundle.config.model_copy(update={"prior": knobs}))
    ranking = Ranking(np.array([3, 4]), np.ones(2, np.float32), np.ones(2, np.float32))
    first, second = reasons_of(small, np.array([1]), ranking)
    assert first.prior is not None
    assert second.prior is None
