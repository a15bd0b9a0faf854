"""How the prior is weighed: worth much where transitions tell everything, nothing on noise, and never without bound."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch.nn import functional as F

from recsys.histories import Histories
from recsys.metrics import ndcg
from recsys.prior import MOST_WEIGHT, TransitionPrior, _minimise, fit_prior
from recsys.ranking import OUT, expected_ranks, top_k
from recsys.recommend import rescore
from recsys.transitions import TransitionCounter

N, D, Q = 40, 12, 400
TEMPERATURE = 0.1


def ring(*, follows=1.0):
    """A counter that saw item i followed by i + 1, and a little of everything else."""
    counts = np.full((N + 1, N + 1), 1 - follows, np.float32)
    for item in range(1, N + 1):
        counts[item, item % N + 1] += 20 * follows
    counts[0] = counts[:, 0] = 0
    return TransitionCounter(sparse.csr_matrix(counts), history_decay=0.5, history_items=1)


def noise(rng):
    counts = rng.poisson(2.0, (N + 1, N + 1)).astype(np.float32)
    counts[0] = counts[:, 0] = 0
    return TransitionCounter(sparse.csr_matrix(counts), history_decay=0.5, history_items=1)


def cases(rng, *, told_by_towers, told_by_history, k=N):
    """Q cases: their candidates and cosines, their history of one item, and the target."""
    history = torch.from_numpy(rng.integers(1, N + 1, Q))
    target = torch.where(
        torch.from_numpy(rng.random(Q) < told_by_history), history % N + 1, torch.randint(1, N + 1, (Q,))
    )
    items = F.normalize(torch.randn(N + 1, D), dim=1)
    users = F.normalize(torch.randn(Q, D) + told_by_towers * items[target], dim=1)
    scores = users @ items.T
    scores[:, 0] = OUT
    candidates, cosines = top_k(scores, k)
    return cosines, candidates, history[:, None], target


def told(item_idx):
    """Histories of which nothing is known but the items."""
    nothing = torch.zeros_like(item_idx)
    return Histories(item_idx, event=nothing, value=nothing.float(), occurred_at=nothing, asked_at=nothing)


def mean_ndcg(prior, cosines, candidates, history, target):
    scores = torch.full((Q, N + 1), OUT).scatter(
        1, candidates, rescore(prior and prior.reorder, N, cosines, candidates, told(history))
    )
    ranks = expected_ranks(scores, torch.arange(Q), target).numpy()
    return ndcg(ranks, np.arange(Q), k=10).mean()


@pytest.fixture
def rng():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield np.random.default_rng(0)


def fit(counter, given):
    return fit_prior(counter, *given, temperature=TEMPERATURE)


def test_the_score_by_hand():
    prior = TransitionPrior(ring(follows=0.5), temperature=0.5, weight=2.0, floor=0.25)
    # Item 3 was followed by item 4 in 10.5 of 30 counts and by item 9 in 0.5 (N = 40).
    scores = prior.blend(torch.tensor([[0.2, 0.7]]), torch.tensor([[3]]), torch.tensor([[4, 9]]))
    shares = 0.75 * np.array([10.5 / 30, 0.5 / 30]) + 0.25 / 40
    np.testing.assert_allclose(scores, [np.array([0.2, 0.7]) / 0.5 + 2 * np.log(shares)], rtol=1e-5)


def test_what_is_popular_anyway_is_damped():
    counts = np.zeros((N + 1, N + 1), np.float32)
    counts[3, 4], counts[5, 4], counts[3, 9] = 2, 5, 2  # 4 followed something 7 times, 9 twice
    counter = TransitionCounter(sparse.csr_matrix(counts), history_decay=0.5, history_items=1)
    prior = TransitionPrior(counter, TEMPERATURE, weight=2.0, floor=0.25, damping=0.5)
    bonus = prior.bonus(torch.tensor([[3]]), torch.tensor([[4, 9, 1]]))
    shares = 0.75 * np.array([0.5, 0.5, 0]) + 0.25 / 40
    np.testing.assert_allclose(bonus, [2 * np.log(shares) - 0.5 * np.log([1 + 7, 1 + 2, 1])], rtol=1e-5)


def test_a_history_nobody_followed_moves_nothing():
    counter = TransitionCounter(sparse.csr_matrix((N + 1, N + 1), dtype=np.float32), 0.5, 1)
    prior = TransitionPrior(counter, TEMPERATURE, weight=3.0, floor=0.5)
    moved = prior.bonus(torch.tensor([[3]]), torch.tensor([[4, 9, 1]]))
    assert len(set(moved.ravel().tolist())) == 1


def test_shares_sum_to_one():
    counted = ring(follows=0.7).among(torch.tensor([[3], [7]]), torch.arange(1, N + 1).expand(2, -1))
    for floor in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(counted.log_share(floor=floor).exp().sum(1), 1, rtol=1e-5)


def test_without_weight_the_towers_order_stays(rng):
    given = cases(rng, told_by_towers=1.0, told_by_history=1.0)
    cosines, candidates, history, _ = given
    scores = TransitionPrior(ring(), TEMPERATURE, weight=0.0, floor=0.1).blend(cosines, history, candidates)
    assert torch.equal(scores.argsort(dim=1, descending=True, stable=True), torch.arange(N).expand(Q, -1))


def test_where_transitions_tell_much_the_prior_wins(rng):
    fitted_on = cases(rng, told_by_towers=1.0, told_by_history=0.7)
    prior = fit(ring(follows=0.7), fitted_on)
    assert 0.1 < prior.weight < MOST_WEIGHT
    unseen = cases(rng, told_by_towers=1.0, told_by_history=0.7)
    assert mean_ndcg(prior, *unseen) > mean_ndcg(None, *unseen) + 0.1


def test_noise_is_given_no_weight(rng):
    weights = [fit(noise(rng), cases(rng, told_by_towers=1.0, told_by_history=0.0)).weight for _ in range(10)]
    assert np.count_nonzero(weights) <= 1


def test_noise_does_no_harm(rng):
    prior = fit(noise(rng), cases(rng, told_by_towers=1.0, told_by_history=0.0))
    unseen = cases(rng, told_by_towers=1.0, told_by_history=0.0)
    assert mean_ndcg(prior, *unseen) > mean_ndcg(None, *unseen) - 0.01


@pytest.mark.parametrize("told_by_towers", [0.0, -1.0], ids=["nothing", "the opposite"])
def test_towers_that_know_nothing_leave_all_to_the_prior_and_a_finite_weight(rng, told_by_towers):
    prior = fit(ring(follows=0.7), cases(rng, told_by_towers=told_by_towers, told_by_history=0.7))
    assert MOST_WEIGHT / 4 < prior.weight <= MOST_WEIGHT
    assert 0 < prior.floor < 1
    unseen = cases(rng, told_by_towers=0.0, told_by_history=0.7)
    assert mean_ndcg(prior, *unseen) > 0.7


def test_a_counter_that_points_the_wrong_way_is_given_no_weight(rng):
    away = ring()
    away = TransitionCounter(sparse.csr_matrix(20 - away.counts.toarray()), 0.5, 1)  # all but what follows
    assert fit(away, cases(rng, told_by_towers=1.0, told_by_history=0.9)).weight == 0.0


@pytest.mark.parametrize(("hits", "weighed"), [(49, False), (50, True)])
def test_too_few_cases_settle_nothing(rng, hits, weighed):
    cosines, candidates, history, target = cases(rng, told_by_towers=0.3, told_by_history=1.0)
    target[hits:] = 999  # retrieved by none
    assert (fit(ring(follows=0.9), (cosines, candidates, history, target)).weight > 0) == weighed


def test_fewer_items_than_candidates(rng):
    cosines, candidates, history, target = cases(rng, told_by_towers=1.0, told_by_history=0.7, k=N + 1)
    assert (candidates[:, -1] == 0).all()
    assert torch.isinf(cosines[:, -1]).all()
    prior = fit(ring(follows=0.7), (cosines, candidates, history, target))
    assert 0.1 < prior.weight < MOST_WEIGHT


def test_the_tail_stays_behind_the_head_in_its_order(rng):
    cosines, candidates, history, _ = cases(rng, told_by_towers=1.0, told_by_history=1.0)
    prior = TransitionPrior(ring(), TEMPERATURE, weight=5.0, floor=0.01)
    scores = rescore(prior.reorder, 10, cosines, candidates, told(history))
    assert (scores[:, :10].amin(1) > scores[:, 10:].amax(1)).all()
    order = scores[:, 10:].argsort(dim=1, descending=True, stable=True)
    assert torch.equal(order, torch.arange(N - 10).expand(Q, -1))
    assert not torch.equal(scores[:, :10].argsort(dim=1, descending=True), torch.arange(10).expand(Q, -1))
    assert torch.equal(rescore(None, 10, cosines, candidates, told(history)), cosines)


def test_without_candidates_nothing_is_a_number_that_sorts_first():
    prior = TransitionPrior(ring(), TEMPERATURE, weight=5.0, floor=0.01)
    scores = rescore(
        prior.reorder, 2, torch.full((1, 4), OUT), torch.zeros(1, 4, dtype=torch.int64), told(torch.tensor([[3]]))
    )
    assert torch.equal(scores, torch.full((1, 4), OUT))


def test_an_item_that_came_after_the_counting_scores_as_one_that_never_followed():
    """The ring's 5 is followed by 6; 7 never followed it, and neither did 99, which the counter has never heard of."""
    prior = TransitionPrior(ring(), TEMPERATURE, weight=2.0, floor=0.1)
    six, never, late = prior.bonus(torch.tensor([[5]]), torch.tensor([[6, 7, 99]]))[0].tolist()
    assert late == never < six
    damped = TransitionPrior(ring(), TEMPERATURE, weight=2.0, floor=0.1, damping=1.0)
    never_damped, late_damped = damped.bonus(torch.tensor([[5]]), torch.tensor([[7, 99]]))[0].tolist()
    assert late_damped == late  # it was never popular
    assert never_damped < never


def test_a_search_that_runs_off_to_infinity_leaves_the_numbers_as_they_were():
    number = torch.tensor(0.5)
    assert _minimise(lambda: -torch.exp(50 * number), [number]) == pytest.approx(-np.exp(25.0), rel=1e-5)
    assert float(number) == 0.5
