"""Logits of many labels into probabilities and decisions: Platt's sigmoid and a threshold for each.

Q cases, C labels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from recsys.calibration import fit_platt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

FEWEST = 20
"""Held-out cases of the rarer answer from which on a label has a sigmoid and a threshold of its own."""


@dataclass(frozen=True, eq=False)
class LabelCalibration:
    """What each label's logits mean."""

    slope: Floats
    """(C,)"""
    offset: Floats
    """(C,)"""
    threshold: Floats
    """(C,) the probability from which the answer is yes: where F1 was largest."""

    @classmethod
    def fit(cls, logits: npt.NDArray[np.floating], labels: Bools) -> "LabelCalibration":
        """From cases that were not learnt from.

        Labels that are too rare there for curves of their own share those of all answers together.

        Args:
            logits: ``(Q, C)``.
            labels: ``(Q, C)``.
        """
        positives = labels.sum(0)
        enough = np.minimum(positives, len(labels) - positives) >= FEWEST
        shared = fit_platt(logits.ravel(), labels.ravel())
        sigmoids = [fit_platt(logits[:, at], labels[:, at]) if enough[at] else shared for at in range(labels.shape[1])]
        # A slope of 0 says that a label's logits tell nothing; the shared slope, drawn to its share, loses less.
        slope = np.array([sigmoid.slope if sigmoid.slope > 0 else shared.slope for sigmoid in sigmoids])
        offset = np.array([sigmoid.offset if sigmoid.slope > 0 else shared.offset for sigmoid in sigmoids])
        probabilities = expit(logits * slope + offset)
        everywhere = best_threshold(probabilities.ravel(), labels.ravel())
        threshold = [
            best_threshold(probabilities[:, at], labels[:, at]) if enough[at] else everywhere
            for at in range(labels.shape[1])
        ]
        return cls(slope, offset, np.array(threshold))

    def probabilities(self, logits: npt.NDArray[np.floating]) -> Floats:
        """(Q, C) from (Q, C) logits."""
        calibrated: Floats = expit(np.asarray(logits, np.float64) * self.slope + self.offset)
        return calibrated

    def decisions(self, probabilities: Floats) -> Bools:
        """(Q, C) which answers are yes."""
        decided: Bools = probabilities >= self.threshold
        return decided


def best_threshold(probabilities: Floats, labels: Bools) -> float:
    """The probability from which saying yes gives the largest F1: halfway between two that were seen.

    Args:
        probabilities: ``(Q,)``.
        labels: ``(Q,)``, one of them true.

    Example:
        >>> best_threshold(np.array([0.125, 0.25, 0.5, 0.75]), np.array([False, False, True, True]))
        0.375
    """
    order = np.argsort(-probabilities, kind="stable")
    ranked = np.append(probabilities[order], 0.0)
    f1 = 2 * np.cumsum(labels[order]) / (np.arange(1, len(order) + 1) + max(int(labels.sum()), 1))
    f1[ranked[1:] == ranked[:-1]] = -1.0  # equal probabilities cannot be parted
    best = int(f1.argmax())
    return float((ranked[best] + ranked[best + 1]) / 2)
