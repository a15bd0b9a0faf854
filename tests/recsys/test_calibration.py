"""Calibration against worlds whose probabilities are known, sums done by hand and a general optimiser."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from recsys.calibration import Platt, expected_calibration_error, fit_platt


def test_platt_finds_the_sigmoid_that_made_the_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(40.0, 7.0, 200_000)
    labels = rng.random(len(logits)) < expit(0.3 * logits - 13.0)
    fitted = fit_platt(logits, labels)
    assert fitted.slope == pytest.approx(0.3, rel=0.02)
    assert fitted.offset == pytest.approx(-13.0, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_platt_is_the_least_of_its_loss(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=60) * 10 ** rng.uniform(-3, 3)
    labels = rng.random(60) < expit(logits / np.std(logits) - 1)
    positives, negatives = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(parameters):
        raw = parameters[0] * logits / np.std(logits) + parameters[1]
        return np.sum(np.logaddexp(0, raw) - targets * raw)

    slow = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000})
    fitted = fit_platt(logits, labels)
    np.testing.assert_allclose([fitted.slope * np.std(logits), fitted.offset], slow.x, rtol=1e-4, atol=1e-5)


def test_labels_that_part_cleanly_are_not_certain():
    """Three of each: no target is beyond 4/5, so no probability comes near 1, and none beyond the targets' middle."""
    fitted = fit_platt(np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0]), np.array([0, 0, 0, 1, 1, 1]))
    assert 0.8 < fitted(np.array([3.0]))[0] < 0.95
    assert fitted(np.array([1.0]))[0] + fitted(np.array([-1.0]))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("labels", [[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
def test_where_logits_tell_nothing_the_share_stands(labels):
    """A sigmoid that falls, or labels of one kind only: the smoothed share, whatever the logit."""
    fitted = fit_platt(np.array([1.0, 2.0, 3.0, 4.0]), np.array(labels))
    share = (sum(labels) + 1) / (len(labels) + 2)
    assert fitted.slope == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(fitted(np.array([-9.0, 0.0, 9.0])), share, atol=1e-6)


def test_constant_logits_give_the_share():
    fitted = fit_platt(np.full(6, 0.7), np.array([1, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(fitted(np.array([0.7])), 2 / 8, atol=1e-9)


def test_platt_keeps_the_order_and_the_shape():
    logits = np.array([[2.0, -1.0], [0.0, 5.0]], np.float32)
    probabilities = Platt(slope=0.5, offset=3.0)(logits)
    assert probabilities.shape == (2, 2)
    assert (np.argsort(probabilities, axis=None) == np.argsort(logits, axis=None)).all()


def test_error_by_hand():
    """Bins {.1, .2, .3} and {.4, .6, .8}: |.6 − 1| / 6 + |1.8 − 3| / 6 = .4 / 6 + 1.2 / 6 = .2666…"""
    probabilities = np.array([0.6, 0.1, 0.3, 0.8, 0.2, 0.4])
    labels = np.array([1, 0, 0, 1, 1, 1])
    assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx(1.6 / 6)


def test_errors_in_different_bins_do_not_cancel():
    probabilities, labels = np.array([0.2, 0.2, 0.8, 0.8]), np.array([1, 0, 1, 0])
    assert expected_calibration_error(probabilities, labels, bins=1) == pytest.approx(0.0)
    assert expected_calibration_error(probabilities, labels, bins=2) == pytest.approx(0.3)


def test_one_prediction_for_all_is_one_bin():
    """Cut apart by their order in the array, equal predictions would seem wrong."""
    labels = np.array([1] * 30 + [0] * 70)
    assert expected_calibration_error(np.full(100, 0.3), labels) == pytest.approx(0.0)


def test_calibrated_worlds_have_a_small_error_and_shifted_ones_theirs():
    rng = np.random.default_rng(1)
    truth = rng.beta(1, 8, 100_000)
    labels = rng.random(len(truth)) < truth
    assert expected_calibration_error(truth, labels) < 0.005
    assert expected_calibration_error(truth + 0.05, labels) == pytest.approx(0.05, abs=0.004)
