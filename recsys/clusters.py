"""Unit vectors grouped by direction, and how many groups there are.

Shapes: R rows, D width, K clusters.
"""

from collections.abc import Sequence
from math import isqrt

import numpy as np
import numpy.typing as npt
from scipy import sparse

Vectors = npt.NDArray[np.float32]

MOST_CLUSTERS = 64
ROWS_PER_CLUSTER = 20
"""On average and at least, unless rows are so few that their square root allows more clusters."""
ROWS_READ = 4_000
"""The most rows by which the number is chosen and the centres are placed; the others join the nearest."""
STARTS = 4
ROUNDS = 50


def find_centres(vectors: Vectors, *, rng: np.random.Generator) -> Vectors:
    """Centres of as many clusters as stand apart about as well as any number does.

    Out of all numbers up to 12, and every further one that is a fifth larger, it takes the largest whose mean
    silhouette is at most two standard errors below the best: where groups stand clearly apart there is one such number,
    and where they do not, finer interests tell more.

    Args:
        vectors: ``(R, D)`` unit rows; zero rows are passed over.
        rng: The same state gives the same centres.

    Returns:
        ``(K, D)`` unit rows; K is 1 where there are too few rows to part.
    """
    known = vectors[np.einsum("rd,rd->r", vectors, vectors) > 0]
    if len(known) > ROWS_READ:
        known = known[np.sort(rng.choice(len(known), ROWS_READ, replace=False))]
    fits = [spherical_kmeans(known, clusters=clusters, rng=rng) for clusters in _numbers(len(known))]
    if not fits:
        return _unit(known.sum(0, keepdims=True))
    told = [silhouettes(known, centres) for centres in fits]
    best = max(told, key=lambda rows: float(rows.mean()))
    enough = best.mean() - 2 * best.std() / np.sqrt(len(known))
    return next(fit for fit, rows in zip(reversed(fits), reversed(told), strict=True) if rows.mean() >= enough)


def spherical_kmeans(vectors: Vectors, *, clusters: int, rng: np.random.Generator) -> Vectors:
    """Centres that give every row a near one: the largest sum of cosines found in a few starts.

    Dhillon and Modha, Machine Learning 2001; the starts as Arthur and Vassilvitskii, SODA 2007, draw them (greedily).

    Args:
        vectors: ``(R, D)`` unit rows, at least as many as clusters.
        clusters: K.
        rng: Draws the starts.

    Returns:
        ``(K, D)`` unit rows.
    """
    fits = [_settled(vectors, _spread_start(vectors, clusters, rng)) for _ in range(STARTS)]
    return max(fits, key=lambda centres: float((vectors @ centres.T).max(1).sum()))


def silhouettes(vectors: Vectors, centres: Vectors) -> Vectors:
    """How clearly each row is of its cluster: 1 − its own distance / that to the next centre, by cosine distance.

    The simplified silhouette of Hruschka, de Castro and Campello, ICDM 2004: as telling as the full one, without
    comparing every pair of rows.

    Args:
        vectors: ``(R, D)`` unit rows.
        centres: ``(K, D)`` unit rows, at least two.

    Returns:
        ``(R,)`` in [0, 1].

    Example:
        >>> axes = np.eye(2, dtype=np.float32)
        >>> silhouettes(axes[[0, 0, 1]], axes).tolist()
        [1.0, 1.0, 1.0]
    """
    nearest = np.sort(1 - vectors @ centres.T, axis=1)[:, :2]
    own, next_best = np.maximum(nearest[:, 0], 0), np.maximum(nearest[:, 1], 1e-9)
    apart: Vectors = (1 - own / next_best).astype(np.float32)
    return apart


def _numbers(rows: int) -> list[int]:
    most = min(MOST_CLUSTERS, max(isqrt(rows), rows // ROWS_PER_CLUSTER))
    further = (12 * 1.2 ** np.arange(1, 12)).astype(int).tolist()
    return [number for number in [*range(2, 13), *further] if number <= most]


def _spread_start(vectors: Vectors, clusters: int, rng: np.random.Generator) -> Vectors:
    """Rows drawn with a chance that grows with the distance to those before: of a few, the one that leaves least."""
    rows = [int(rng.integers(len(vectors)))]
    farness = _farness(vectors, rows)[0]
    while len(rows) < clusters:
        drawn = rng.choice(len(vectors), 2 + int(np.log(clusters)), p=farness / farness.sum())
        left = np.minimum(farness, _farness(vectors, drawn))
        best = int(left.sum(1).argmin())
        rows.append(int(drawn[best]))
        farness = left[best]
    return vectors[rows]


def _farness(vectors: Vectors, rows: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(some, R) the cosine distance of everything to some rows."""
    return np.maximum(1.0 - (vectors[rows] @ vectors.T).astype(np.float64), 1e-9)


def _settled(vectors: Vectors, centres: Vectors) -> Vectors:
    """Assign and average until nobody moves."""
    nearest = np.full(len(vectors), -1)
    for _ in range(ROUNDS):
        assigned = (vectors @ centres.T).argmax(1)
        if (assigned == nearest).all():
            break
        nearest = assigned
        shape = (len(centres), len(vectors))
        members = sparse.csr_matrix((np.ones(len(vectors), np.float32), (nearest, np.arange(len(vectors)))), shape)
        sums = members @ vectors
        deserted = ~sums.any(1)
        sums[deserted] = centres[deserted]
        centres = _unit(sums)
    return centres


def _unit(rows: Vectors) -> Vectors:
    unit: Vectors = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
    return unit
