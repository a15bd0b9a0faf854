"""Reasons are tried, not told: a history without an event is read as if the event had never been."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from recsys.embed import embed_histories
from recsys.histories import Histories, gather_histories
from recsys.occlusion import MOST_TRIED, score_drops, without_each
from recsys.recommend import Recommender, exact_search
from recsys.split import keep


def gathered(interactions, *, requested_at):
    """The first user's whole history, as the user tower reads it."""
    return gather_histories(
        interactions, interactions.starts[:1], interactions.starts[1:2], length=50, requested_at=requested_at
    )


@pytest.mark.parametrize("request_time", [True, False])
def test_without_an_event_is_as_if_it_had_never_been(bundle, request_time):
    interactions = bundle.interactions
    asked = np.array([int(interactions.occurred_at.max()) + 60]) if request_time else None
    events = int(interactions.starts[1])
    tried = without_each(gathered(interactions, requested_at=asked))
    assert len(tried.item_idx) == min(events, MOST_TRIED) + 1
    for out in range(events):
        there = np.ones(len(interactions), bool)
        there[out] = False
        honest = gathered(keep(interactions, there), requested_at=asked)
        for field in fields(Histories):
            mine, theirs = (getattr(one, field.name) for one in (tried, honest))
            torch.testing.assert_close(mine[out + 1, : events - 1], theirs[0], equal_nan=True)
        assert tried.item_idx[out + 1, events - 1] == 0


def test_drops_are_what_the_score_loses(bundle):
    vectors = torch.from_numpy(bundle.item_vectors)
    recommender = Recommender(bundle.model, vectors, bundle.prior.reorder, 200, exact_search(vectors))
    history = gathered(bundle.interactions, requested_at=None)
    candidates = torch.tensor([7, 11, 30])

    def scores(one):
        users = embed_histories(bundle.model, vectors, one)
        return bundle.prior.reorder(users @ vectors[candidates].T, candidates[None], one)[0]

    drops = score_drops(recommender, history, candidates)
    tried = without_each(history)
    for event in (0, 2):
        without = replace(tried, **{f.name: getattr(tried, f.name)[[event + 1]] for f in fields(Histories)})
        torch.testing.assert_close(drops[event], scores(history) - scores(without), atol=1e-4, rtol=1e-4)


def test_the_only_event_can_be_tried(bundle):
    vectors = torch.from_numpy(bundle.item_vectors)
    recommender = Recommender(bundle.model, vectors, bundle.prior.reorder, 200, exact_search(vectors))
    history = gather_histories(bundle.interactions, np.array([0]), np.array([1]), length=50, requested_at=None)
    assert torch.isfinite(score_drops(recommender, history, torch.tensor([3, 4]))).all()
