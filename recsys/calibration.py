"""Whether a predicted probability means what it says: how far it is off, and Platt's sigmoid that mends it.

Shapes: R predictions.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Floats = npt.NDArray[np.float64]

STEPS = 50
"""Of Newton's method; it needs about ten."""
STILL = 1e-9
"""A gradient below which the fit has arrived."""


@dataclass(frozen=True)
class Platt:
    """Logit → probability: a sigmoid of ``slope · logit + offset``.

    Example:
        >>> Platt(slope=2.0, offset=-1.0)(np.array([0.5, 1.5])).round(3).tolist()
        [0.5, 0.881]
    """

    slope: float
    offset: float

    def __call__(self, logits: npt.NDArray[np.floating]) -> Floats:
        """Calibrated probabilities, in the shape of the logits; their order is kept wherever the slope is above 0."""
        probabilities: Floats = expit(self.slope * np.asarray(logits, np.float64) + self.offset)
        return probabilities


def fit_platt(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.generic]) -> Platt:
    """The sigmoid under which the labels are likeliest.

    Platt, 1999, whose targets are kept as well: (P + 1) / (P + 2) in the place of 1 and 1 / (M + 2) in that of 0, for P
    positive and M negative labels, so that logits which part the labels cleanly are not taken for certain. Newton's
    method with halved steps, as in Lin, Lin and Weng, Machine Learning 2007. A slope below 0 would turn the ranking
    round: the best that keeps it, a slope of 0, stands in its place.

    Args:
        logits: ``(R,)`` held out from whatever learnt to give them.
        labels: ``(R,)`` booleans, or 0 and 1.
    """
    raw = np.asarray(logits, np.float64)
    positives = int(np.count_nonzero(labels))
    negatives = len(raw) - positives
    constant = Platt(slope=0.0, offset=float(np.log((positives + 1) / (negatives + 1))))
    middle, spread = float(raw.mean()), float(raw.std())
    if spread <= 1e-9 * abs(middle):  # equal up to rounding
        return constant
    targets = np.where(np.asarray(labels, bool), (positives + 1) / (positives + 2), 1 / (negatives + 2))
    # Centred and scaled, the two parameters hardly depend on each other and a step is never far off.
    slope, offset = _most_likely((raw - middle) / spread, targets, start=constant.offset)
    return Platt(slope=slope / spread, offset=offset - slope * middle / spread) if slope > 0 else constant


def expected_calibration_error(
    probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.generic], *, bins: int = 15
) -> float:
    """By how much probabilities miss what happens, on average: Σ_b n_b / R · |mean probability − share of positives|.

    The bins hold equally many predictions each (Nguyen and O'Connor, EMNLP 2015; Nixon et al., CVPR workshops 2019):
    where most probabilities are small, bins of equal width put nearly all of them into one. Equal predictions share a
    bin, however often they occur.

    Args:
        probabilities: ``(R,)`` in [0, 1].
        labels: ``(R,)`` booleans, or 0 and 1.
        bins: At most; fewer where predictions repeat.

    Example:
        >>> expected_calibration_error(np.array([0.25, 0.25, 0.75, 0.75]), np.array([0, 0, 1, 1]), bins=2)
        0.25
    """
    edges = np.quantile(probabilities, np.linspace(0, 1, bins + 1)[1:-1], method="lower")
    bin_of = np.searchsorted(edges, probabilities, side="left")
    missed = np.asarray(probabilities, np.float64) - np.asarray(labels, np.float64)
    return float(np.abs(np.bincount(bin_of, weights=missed)).sum() / len(missed))


def _most_likely(logits: Floats, targets: Floats, *, start: float) -> tuple[float, float]:
    at = np.array([0.0, start])
    loss = _cross_entropy(logits, targets, at)
    for _ in range(STEPS):
        probabilities = expit(at[0] * logits + at[1])
        missed, weights = probabilities - targets, probabilities * (1 - probabilities)
        gradient = np.array([missed @ logits, missed.sum()])
        if np.abs(gradient).max() < STILL * len(logits):
            break
        cross = weights @ logits
        curvature = np.array([[weights @ logits**2, cross], [cross, weights.sum()]]) + 1e-12 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while (tried := _cross_entropy(logits, targets, at - step)) > loss + 1e-12 and np.abs(step).max() > STILL:
            step = step / 2
        at, loss = at - step, tried
    return float(at[0]), float(at[1])


def _cross_entropy(logits: Floats, targets: Floats, parameters: Floats) -> float:
    raw = parameters[0] * logits + parameters[1]
    return float((np.logaddexp(0, raw) - targets * raw).sum())
