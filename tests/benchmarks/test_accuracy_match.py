"""The classifier's match by hand, and a target's gain as the reports have it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.accuracy.match import RAREST, Lists, match_of, ndcg_of


def test_the_match_by_hand():
    """Two interests, likely .5 and .1, usual .25 and .1: an item of both halves, one of the second, one of none."""
    classifier = SimpleNamespace(
        probabilities=lambda evidence: np.array([[0.5, 0.1]]), usual=np.array([0.25, 0.1], np.float64)
    )
    trained = SimpleNamespace(classifier=classifier, reader=SimpleNamespace(of_cases=lambda cases: cases))
    found = match_of(torch.tensor([[[0.5, 0.5], [0.0, 1.0], [0.0, 0.0]]]), trained, None)[0].numpy()
    lift = np.log((0.5 + RAREST) / (0.25 + RAREST))
    np.testing.assert_allclose(found[0], [np.log(0.3 + RAREST), lift / 2, np.log(0.5 + RAREST)], rtol=1e-5)
    np.testing.assert_allclose(found[1], [np.log(0.1 + RAREST), 0, np.log(0.1 + RAREST)], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[2], [np.log(RAREST), 0, np.log(RAREST)], rtol=1e-5)


def test_gains_by_hand():
    """The target comes first, third behind two, eleventh, and is not there; places without a candidate do not count."""
    scores = torch.zeros(4, 12)
    scores[:, :] = -torch.arange(12.0)
    empty, found = torch.zeros(4, 12, dtype=torch.bool), torch.zeros(4, 12, dtype=torch.bool)
    found[0, 0] = found[1, 3] = found[2, 10] = True
    empty[1, 0] = True
    assert ndcg_of(scores, Lists(scores, empty, found)).tolist() == pytest.approx([1.0, 0.5, 0.0, 0.0])
