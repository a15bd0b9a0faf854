"""Where id embeddings start: from which items are chosen near each other, so that few interactions go a long way.

N items, D width.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import svds

from recsys.config import PriorConfig
from recsys.interactions import Interactions
from recsys.transitions import TransitionCounter

STD = 0.05
"""Of the elements: ids then weigh about as much as an untrained projection of text."""
SMOOTHING = 0.75
"""Exponent of the context distribution: keeps rare items from being near everything."""


def co_occurrence_vectors(
    train: Interactions, *, num_items: int, width: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """The leading factors of the items' positive pointwise mutual information within five steps of a history.

    It is what word2vec's skip-gram learns, in closed form (Levy and Goldberg, NeurIPS 2014), with the smoothed
    contexts and the square root of the singular values of Levy, Goldberg and Dagan, TACL 2015.

    Args:
        train: The training rows; nothing else is looked at.
        num_items: N.
        width: D; a catalogue too small to have D factors is filled up with small noise.
        rng: For the solver's start and the noise.

    Returns:
        ``(N + 1, D)``; rows of padding and of items never chosen are 0.
    """
    counts = TransitionCounter.of(train, PriorConfig(backward=1.0), num_items=num_items).counts.tocoo()
    vectors = rng.normal(scale=STD / 10, size=(num_items + 1, width))
    totals = np.asarray(counts.sum(1)).ravel()
    if counts.nnz:
        contexts = totals**SMOOTHING / (totals**SMOOTHING).sum()
        information = np.log(counts.data / (totals[counts.row] * contexts[counts.col]))
        positive = information > 0
        entries = (information[positive].astype(np.float64), (counts.row[positive], counts.col[positive]))
        one_way = sparse.csr_matrix(entries, shape=counts.shape)
        rank = min(width, num_items - 1)
        factors, strengths, _ = svds(one_way + one_way.T, k=rank, rng=rng)
        found = factors * np.sqrt(strengths)
        vectors[:, :rank] = found * (STD / max(float(found[totals > 0].std()), 1e-12))
    vectors[totals == 0] = 0
    return vectors.astype(np.float32)
