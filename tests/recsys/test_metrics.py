"""Metrics against ir-measures and by hand; what the bootstrap promises."""

import ir_measures
import numpy as np
import pytest
from ir_measures import RR, R, Success, nDCG

from recsys.metrics import (
    CUTOFFS,
    bootstrap_means,
    case_metrics,
    hit_rate,
    mrr,
    ndcg,
    paired_p_value,
    paired_p_values,
    recall,
)


@pytest.mark.parametrize("targets_per_case", [1, 7])
def test_metrics_agree_with_ir_measures(targets_per_case):
    rng = np.random.default_rng(targets_per_case)
    cases, items = 40, 400
    qrels, run, ranks, owners = [], [], [], []
    for case in range(cases):
        order = rng.permutation(items)
        run += [ir_measures.ScoredDoc(str(case), str(item), -float(at)) for at, item in enumerate(order)]
        # Half of them among the first 30, so that every cutoff separates something.
        near = rng.choice(order[:30], size=max(targets_per_case // 2, case % 2), replace=False)
        far = rng.choice(order[30:], size=targets_per_case - len(near), replace=False)
        for target in [*near, *far]:
            qrels.append(ir_measures.Qrel(str(case), str(target), 1))
            ranks.append(1.0 + np.flatnonzero(order == target)[0])
            owners.append(case)
    ours = case_metrics(np.array(ranks), np.array(owners))
    theirs = {"recall": R, "ndcg": nDCG, "mrr": RR, "hit_rate": Success}
    wanted = {measure @ k: f"{name}@{k}" for name, measure in theirs.items() for k in CUTOFFS}
    assert set(wanted.values()) == set(ours)
    compared = 0
    for found in ir_measures.iter_calc(list(wanted), qrels, run):
        assert ours[wanted[found.measure]][int(found.query_id)] == pytest.approx(found.value, abs=1e-9)
        compared += 1
    assert compared == cases * len(wanted)


RANKS = np.array([3.0, 12.0, 1.0, 2.5])
OWNERS = np.array([0, 0, 1, 2])


def test_lopsided_figures_by_hand():
    np.testing.assert_allclose(recall(RANKS, OWNERS, k=10), [1 / 2, 1, 1])
    np.testing.assert_allclose(hit_rate(RANKS, OWNERS, k=10), [1, 1, 1])
    np.testing.assert_allclose(mrr(RANKS, OWNERS, k=10), [1 / 3, 1, 1 / 2.5])
    # Case 0 has two targets: found at 3, gain 1 / log2 4 = 0.5; the best two places give 1 + 1 / log2 3.
    np.testing.assert_allclose(ndcg(RANKS, OWNERS, k=10), [0.5 / 1.6309297535714575, 1, 1 / np.log2(3.5)])
    np.testing.assert_allclose(ndcg(RANKS, OWNERS, k=1), [0, 1, 0])
    np.testing.assert_allclose(hit_rate(RANKS, OWNERS, k=2), [0, 1, 0])


def test_a_target_that_is_never_ranked_counts_nothing_anywhere():
    for figures in case_metrics(np.array([np.inf, 1.0]), np.array([0, 1])).values():
        assert figures.tolist() == [0.0, 1.0]


def test_the_interval_covers_a_known_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(300):
        figures = rng.exponential(3.0, size=(80, 1))
        means = bootstrap_means(figures, np.arange(80), draws=300, rng=rng)
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low <= 3.0 <= high
    assert 0.88 <= covered / 300 <= 0.98


def test_users_are_drawn_not_cases():
    # Ten users with 50 equal cases each: resampling cases would make the spread √50 times too small.
    per_user = np.arange(10.0)
    users = np.repeat(np.arange(10), 50)
    means = bootstrap_means(np.repeat(per_user, 50)[:, None], users, draws=4000, rng=np.random.default_rng(0))
    assert means.std() == pytest.approx(per_user.std() / np.sqrt(10), rel=0.05)


def test_a_user_brings_all_their_cases():
    # User 0 has three cases of 1, user 1 one case of 0: a draw of both gives 3/4, never 1/2.
    figures = np.array([[1.0], [1.0], [1.0], [0.0]])
    means = bootstrap_means(figures, np.array([5, 5, 5, 9]), draws=200, rng=np.random.default_rng(0))
    assert set(means.ravel().tolist()) == {0.0, 0.75, 1.0}


def test_the_memory_bound_changes_nothing(monkeypatch):
    figures, users = np.random.default_rng(0).random((50, 3)), np.arange(50)
    whole = bootstrap_means(figures, users, draws=100, rng=np.random.default_rng(1))
    monkeypatch.setattr("recsys.metrics.WEIGHTS_AT_ONCE", 50 * 7)
    np.testing.assert_allclose(bootstrap_means(figures, users, draws=100, rng=np.random.default_rng(1)), whole)


def test_a_planted_difference_has_a_tiny_p_value():
    rng = np.random.default_rng(0)
    theirs = rng.random(400)
    ours = theirs + 0.05 + rng.normal(0, 0.1, 400)
    users = np.arange(400)
    assert paired_p_value(ours, theirs, users, draws=2000, rng=rng) == 1 / 2001
    assert paired_p_value(theirs, ours, users, draws=2000, rng=rng) == 1.0
    assert paired_p_value(theirs, theirs, users, draws=2000, rng=rng) == 1.0  # the same is not better


def test_without_a_difference_p_values_are_uniform():
    rng = np.random.default_rng(3)
    differences = rng.normal(0, 1, (150, 400))
    p_values = np.sort(paired_p_values(differences, np.arange(150), draws=1000, rng=rng))
    assert np.abs(p_values - np.linspace(0, 1, 400)).max() < 0.1  # Kolmogorov–Smirnov; 0.081 at 1 %
