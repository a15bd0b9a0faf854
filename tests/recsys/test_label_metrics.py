"""Metrics of many labels against scikit-learn, by hand, and under resampling."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from recsys.calibration import expected_calibration_error
from recsys.label_metrics import (
    f1_by_label,
    macro,
    mean_average_precision,
    pooled_calibration_error,
    ranked_well,
    user_resamples,
)


def answers(seed, *, cases=200, labels=6):
    """Scores of few distinct values, so that many tie."""
    rng = np.random.default_rng(seed)
    truth = rng.random((cases, labels)) < np.linspace(0.05, 0.7, labels)
    return np.round(rng.normal(size=truth.shape) + truth, 1), truth


@pytest.mark.parametrize("seed", range(3))
def test_ranking_figures_are_those_of_scikit_learn(seed):
    scores, truth = answers(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(truth))).astype(float)
    precisions, areas = ranked_well(scores, truth, weights)
    for draw, weight in enumerate(weights):
        for label in range(truth.shape[1]):
            one = truth[:, label], scores[:, label]
            assert precisions[draw, label] == pytest.approx(average_precision_score(*one, sample_weight=weight))
            assert areas[draw, label] == pytest.approx(roc_auc_score(*one, sample_weight=weight))
    assert mean_average_precision(scores, truth) == pytest.approx(average_precision_score(truth, scores))


def test_f1_is_that_of_scikit_learn():
    scores, truth = answers(5)
    by_label, together = f1_by_label(scores > 0.5, truth, np.ones((1, len(truth))))
    np.testing.assert_allclose(by_label[0], f1_score(truth, scores > 0.5, average=None))
    assert together[0] == pytest.approx(f1_score(truth, scores > 0.5, average="micro"))


def test_pooled_error_is_that_of_all_answers_in_one_row():
    scores, truth = answers(6)
    probabilities = 1 / (1 + np.exp(-scores))
    error = pooled_calibration_error(probabilities, truth, np.ones((1, len(truth))))
    assert error[0] == pytest.approx(expected_calibration_error(probabilities.ravel(), truth.ravel()))


def test_labels_nobody_has_are_left_out():
    """AP of the first label by hand: (1 + 2/3) / 2 = 5/6; the second has no positive, and no third of a mean."""
    scores = np.array([[3.0, 1.0], [2.0, 2.0], [1.0, 3.0]])
    truth = np.array([[True, False], [False, False], [True, False]])
    precisions, areas = ranked_well(scores, truth, np.ones((1, 3)))
    assert macro(precisions)[0] == pytest.approx(5 / 6)
    assert np.isnan(precisions[0, 1])
    assert np.isnan(areas[0, 1])


def test_resampled_users_bring_all_their_cases():
    weights = user_resamples(np.array([7, 7, 3, 9]), draws=50, rng=np.random.default_rng(0))
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 1]).all()
    np.testing.assert_array_equal(weights[1:, 1:].sum(1), 3)
    assert len(np.unique(weights[1:], axis=0)) > 5
