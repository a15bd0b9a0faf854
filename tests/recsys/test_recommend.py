"""The path the service takes gives what the report judged: the same items, the same scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys.calibration import Platt
from recsys.evaluate import judge
from recsys.evidence import Evidence
from recsys.histories import gather_histories
from recsys.interests import bundle_taxonomy
from recsys.listwise import ListwiseNets
from recsys.ranking import OUT, mask_seen
from recsys.recommend import Recommender, exact_search
from recsys.report import BLENDED, OURS, RERANKED, TOWERS, tower_scorers
from recsys.rerank import Reranker
from recsys.split import make_split, without_request_time


@pytest.fixture(scope="module", params=["next known event", "target's time"])
def cases(request, bundle):
    test = make_split(bundle.interactions, bundle.config.split).test
    return test if request.param == "target's time" else without_request_time(test, bundle.interactions)


@pytest.fixture(scope="module")
def reranked(bundle):
    """With a reranker whose networks nobody has taught: every kind of evidence counts in it."""
    split = make_split(bundle.interactions, bundle.config.split)
    evidence = Evidence.of(split.train, bundle_taxonomy(bundle), bundle.prior, returns=False)
    chance = torch.Generator().manual_seed(0)
    kinds = len(evidence.names)
    sizes = {"straight": (2, kinds), "hidden": (2, kinds, 3), "offset": (2, 3), "out": (2, 3)}
    drawn = {name: torch.randn(size, generator=chance) for name, size in sizes.items()}
    nets = ListwiseNets(torch.zeros(kinds), torch.ones(kinds), **drawn)
    return replace(bundle, reranker=Reranker(evidence, nets, Platt(1.0, 0.0)))


def recommender(bundle, *, by=BLENDED, num_candidates=200):
    item_vectors = torch.from_numpy(bundle.item_vectors)
    reorder = {TOWERS: None, BLENDED: bundle.prior.reorder, RERANKED: bundle.reorder(item_vectors)}[by]
    return Recommender(bundle.model, item_vectors, reorder, num_candidates, exact_search(item_vectors))


def asked(bundle, cases):
    """The histories as the service gathers them, and what each user has seen."""
    length = bundle.config.user_tower.history_length
    histories = gather_histories(
        bundle.interactions, cases.starts, cases.stops, length=length, requested_at=cases.requested_at
    )
    spans = zip(cases.starts, cases.stops, strict=True)
    return histories, [bundle.interactions.item_idx[start:stop] for start, stop in spans]


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("num_candidates", [200, 7])
@pytest.mark.parametrize("by", OURS)
def test_online_equals_offline(reranked, cases, exclude_seen, num_candidates, by):
    bundle = reranked
    config = bundle.config.model_copy(
        update={"prior": bundle.config.prior.model_copy(update={"num_candidates": num_candidates})}
    )
    scorers = tower_scorers(replace(bundle, config=config), allow_repeats=not exclude_seen)
    offline = judge(scorers[by], cases, bundle.interactions, allow_repeats=not exclude_seen)
    histories, seen = asked(bundle, cases)
    online = recommender(bundle, by=by, num_candidates=num_candidates).recommend(
        histories, k=20, seen=seen if exclude_seen else None
    )
    assert len(online) == len(cases)
    for row, ranking in enumerate(online):
        score = dict(zip(offline.item_idx[row].tolist(), offline.scores[row].tolist(), strict=True))
        np.testing.assert_allclose(ranking.score, offline.scores[row, :20], atol=1e-4)
        # Of two items whose scores differ by rounding alone, either may come first.
        np.testing.assert_allclose(ranking.score, [score[item] for item in ranking.item_idx.tolist()], atol=1e-4)


def test_the_prior_changes_something_or_the_above_proves_little(bundle):
    assert bundle.prior.weight > 0.1


def test_cosines_are_those_of_the_towers(bundle, cases):
    histories, _ = asked(bundle, cases)
    cosines = tower_scorers(bundle, allow_repeats=True)["two_tower"](cases).numpy()
    for row, ranking in enumerate(recommender(bundle).recommend(histories, k=5)):
        np.testing.assert_allclose(ranking.cosine, cosines[row, ranking.item_idx], atol=1e-5)


def test_what_was_seen_is_left_out_and_nothing_else(bundle, cases):
    histories, seen = asked(bundle, cases)
    everything = set(range(1, len(bundle.catalogue) + 1))
    for num_candidates in (3, 200):
        rankings = recommender(bundle, num_candidates=num_candidates).recommend(histories, k=1000, seen=seen)
        for ranking, had in zip(rankings, seen, strict=True):
            assert len(ranking.item_idx) == len(set(ranking.item_idx))
            assert set(ranking.item_idx) == everything - set(had.tolist())
            assert np.isfinite(ranking.score).all()
            assert (np.diff(ranking.score) <= 0).all()


def test_k_beyond_what_the_prior_reorders_keeps_the_tail_by_cosine(bundle, cases):
    histories, seen = asked(bundle, cases)
    blended = recommender(bundle, num_candidates=5).recommend(histories, k=15, seen=seen)
    plain = recommender(bundle, by=TOWERS).recommend(histories, k=15, seen=seen)
    moved = 0
    for with_prior, without in zip(blended, plain, strict=True):
        assert set(with_prior.item_idx[:5]) == set(without.item_idx[:5])
        moved += not np.array_equal(with_prior.item_idx[:5], without.item_idx[:5])
        np.testing.assert_array_equal(with_prior.item_idx[5:], without.item_idx[5:])
    assert moved > len(blended) / 2


def test_more_asked_for_changes_no_place(bundle, cases):
    histories, seen = asked(bundle, cases)
    one = recommender(bundle)
    for few, many in zip(
        one.recommend(histories, k=3, seen=seen), one.recommend(histories, k=12, seen=seen), strict=True
    ):
        np.testing.assert_array_equal(few.item_idx, many.item_idx[:3])


def test_who_has_seen_everything_is_recommended_nothing(bundle, cases):
    histories, seen = asked(bundle, cases)
    seen[1] = np.arange(1, len(bundle.catalogue) + 1)
    rankings = recommender(bundle).recommend(histories, k=10, seen=seen)
    assert [len(ranking.item_idx) for ranking in rankings[:3]] == [10, 0, 10]


def test_a_search_that_fills_up_with_minus_one(bundle, cases):
    exact = exact_search(torch.from_numpy(bundle.item_vectors))

    def short(users, k):
        ids, cosines = exact(users, k)
        ids[:, 4:], cosines[:, 4:] = -1, OUT
        return ids, cosines

    histories, _ = asked(bundle, cases)
    rankings = replace(recommender(bundle), search=short).recommend(histories, k=10)
    assert {len(ranking.item_idx) for ranking in rankings} == {4}
    assert all((ranking.item_idx > 0).all() for ranking in rankings)


def test_exact_search_breaks_ties_by_item_and_never_finds_padding():
    item_vectors = torch.tensor([[0.0, 0.0], [-1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    ids, cosines = exact_search(item_vectors)(np.array([[1.0, 0.0]], np.float32), 9)
    assert ids.tolist() == [[2, 1, 3]]
    np.testing.assert_allclose(cosines, [[0.6, -1, -1]])


def test_offline_masks_only_when_repeats_are_not_allowed(bundle, cases):
    scores = tower_scorers(bundle, allow_repeats=True)["two_tower+prior"](cases)
    assert torch.isfinite(scores[:, 1:]).all()
    masked = tower_scorers(bundle, allow_repeats=False)["two_tower+prior"](cases)
    expected = torch.isinf(mask_seen(torch.zeros_like(scores), bundle.interactions, cases))
    assert torch.equal(torch.isinf(masked[:, 1:]), expected[:, 1:])


def test_a_scorer_tells_cases_apart_that_begin_alike(bundle):
    split = make_split(bundle.interactions, bundle.config.split)
    late, early = split.test, without_request_time(split.test, bundle.interactions)
    scorer = tower_scorers(bundle, allow_repeats=True)["two_tower"]
    scored = [scorer(cases) for cases in (late, early, split.validation)]
    for cases, scores in zip((late, early, split.validation), scored, strict=True):
        assert torch.equal(scores, tower_scorers(bundle, allow_repeats=True)["two_tower"](cases))
    assert not torch.equal(scored[0], scored[1])
    assert not torch.equal(scored[1], scored[2])
