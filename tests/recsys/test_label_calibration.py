"""A sigmoid and a threshold for each label, in worlds whose probabilities are known."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score

from recsys.label_calibration import LabelCalibration, best_threshold


def test_each_label_gets_its_own_sigmoid():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(60_000, 2))
    truth = expit(logits * [2.0, 0.5] + [-1.0, 1.0])
    fitted = LabelCalibration.fit(logits, rng.random(truth.shape) < truth)
    np.testing.assert_allclose(fitted.slope, [2.0, 0.5], rtol=0.06)
    np.testing.assert_allclose(fitted.offset, [-1.0, 1.0], rtol=0.06)
    np.testing.assert_allclose(fitted.probabilities(logits), truth, atol=0.03)


def test_a_rare_label_shares_the_others_curve():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(5_000, 3))
    labels = rng.random(logits.shape) < expit(logits)
    labels[:, 2] = False
    labels[:3, 2] = True
    fitted = LabelCalibration.fit(logits, labels)
    assert 0.5 < fitted.slope[2] < 1.1
    assert fitted.probabilities(logits)[:, 2].std() > 0.05


def test_a_label_whose_logits_tell_nothing_keeps_an_order():
    logits = np.tile(np.linspace(-1, 1, 100)[:, None], (1, 3))
    labels = np.column_stack([logits[:, 0] > 0, logits[:, 1] < 0, logits[:, 2] > 0.2])  # the second falls
    assert (LabelCalibration.fit(logits, labels).slope > 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_has_a_larger_f1(seed):
    rng = np.random.default_rng(seed)
    probabilities = np.round(rng.random(60), 1)
    labels = rng.random(60) < probabilities / 2
    best = f1_score(labels, probabilities >= best_threshold(probabilities, labels))
    others = [f1_score(labels, probabilities >= cut, zero_division=0) for cut in np.linspace(0.01, 1, 200)]
    assert best == pytest.approx(max(others))
