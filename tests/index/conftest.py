"""Worlds and oracles for the index: clustered vectors, and brute force to compare with."""

import numpy as np
import pytest


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="session")
def clustered():
    """rows → (vectors, queries): unit rows around 100 centres, as towers make them."""

    def make(rows, *, dim=32, queries=20, seed=0):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(100, dim))
        points = centres[rng.integers(100, size=rows + queries)] + 0.7 * rng.normal(size=(rows + queries, dim))
        return unit(points[:rows]), unit(points[rows:])

    return make


@pytest.fixture(scope="session")
def brute_force():
    """The k best eligible rows of each query by sorting all of them: highest score first, then smaller id."""

    def search(queries, vectors, ids, k, eligible=None):
        scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
        mask = np.ones(scores.shape, bool) if eligible is None else np.broadcast_to(eligible, scores.shape)
        found_ids = np.full((len(queries), k), -1)
        found_scores = np.full((len(queries), k), -np.inf)
        for row in range(len(queries)):
            rows = np.flatnonzero(mask[row])
            best = rows[np.lexsort((ids[rows], -scores[row, rows]))[:k]]
            found_ids[row, : len(best)] = ids[best]
            found_scores[row, : len(best)] = scores[row, best]
        return found_ids, found_scores

    return search
