"""How well many yes-or-no questions at once are answered: average precision, AUC, F1 and calibration, with resamples.

Q cases, C labels, S resamples of the cases. Macro figures are means over the labels that any case has.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BINS = 15
"""Of the calibration error."""


def user_resamples(users: npt.NDArray[np.int64], *, draws: int, rng: np.random.Generator) -> Floats:
    """How often each case counts when users are drawn with replacement and bring all their cases.

    Args:
        users: ``(Q,)`` whose case each is.
        draws: How many resamples.
        rng: The source of chance.

    Returns:
        ``(1 + draws, Q)``, the first row ones: the cases as they are.
    """
    _, owner = np.unique(users, return_inverse=True)
    size = int(owner.max()) + 1
    drawn = rng.multinomial(size, np.full(size, 1 / size), size=draws).astype(np.float64)
    return np.concatenate([np.ones((1, len(users))), drawn[:, owner]])


def ranked_well(scores: npt.NDArray[np.floating], labels: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """Average precision and area under the ROC curve of each label.

    AP = Σ (recall_k − recall_{k−1}) · precision_k over the distinct scores, best first, without interpolation; equal
    scores are taken together, so their order says nothing.

    Args:
        scores: ``(Q, C)``.
        labels: ``(Q, C)``.
        weights: ``(S, Q)`` how often each case counts.

    Returns:
        Both ``(S, C)``; not a number where a label has no positive, or AUC no negative.

    Example:
        >>> found = ranked_well(np.array([[0.9], [0.8], [0.1]]), np.array([[True], [False], [True]]), np.ones((1, 3)))
        >>> [figure.round(3).tolist() for figure in found]
        [[[0.833]], [[0.5]]]
    """
    precisions, areas = np.empty((len(weights), labels.shape[1])), np.empty((len(weights), labels.shape[1]))
    for label in range(labels.shape[1]):
        order = np.argsort(-scores[:, label], kind="stable")
        ranked = scores[order, label]
        ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
        counted = weights[:, order]
        hits = np.cumsum(counted * labels[order, label], axis=1)[:, ends]
        found = np.cumsum(counted, axis=1)[:, ends]
        misses = found - hits
        gained, missed = (np.diff(sums, axis=1, prepend=0.0) for sums in (hits, misses))
        with np.errstate(invalid="ignore"):
            precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
            precisions[:, label] = (gained * precision).sum(1) / hits[:, -1]
            below = misses[:, -1:] - misses + missed / 2
            areas[:, label] = (gained * below).sum(1) / (hits[:, -1] * misses[:, -1])
    return precisions, areas


def f1_by_label(decisions: Bools, labels: Bools, weights: Floats) -> tuple[Floats, Floats]:
    """F1 of each label, ``(S, C)``, and of all decisions together, ``(S,)``; 0 where nothing is found."""
    hits, said, true = (weights @ answers.astype(np.float64) for answers in (decisions & labels, decisions, labels))
    return _ratio(2 * hits, said + true), _ratio(2 * hits.sum(1), (said + true).sum(1))


def pooled_calibration_error(probabilities: Floats, labels: Bools, weights: Floats) -> Floats:
    """(S,) the expected calibration error over all answers of all labels, in bins of equally many."""
    flat = probabilities.ravel()
    edges = np.quantile(flat, np.linspace(0, 1, BINS + 1)[1:-1], method="lower")
    bins = np.searchsorted(edges, flat) + BINS * np.repeat(np.arange(len(labels)), labels.shape[1])
    missed = np.bincount(bins, weights=flat - labels.ravel(), minlength=BINS * len(labels)).reshape(len(labels), BINS)
    return np.asarray(np.abs(weights @ missed).sum(1) / (weights.sum(1) * labels.shape[1]))


def macro(figures: Floats) -> Floats:
    """(S,) the mean over labels of ``(S, C)``, those without a figure left out."""
    known = ~np.isnan(figures)
    return _ratio(np.where(known, figures, 0.0).sum(1), known.sum(1).astype(np.float64))


def mean_average_precision(scores: npt.NDArray[np.floating], labels: Bools) -> float:
    """The macro average precision of the cases as they are."""
    return float(macro(ranked_well(scores, labels, np.ones((1, len(labels))))[0])[0])


def _ratio(over: Floats, under: Floats) -> Floats:
    return np.divide(over, under, out=np.zeros_like(over, dtype=np.float64), where=under > 0)
