"""Peers without an order: EASE, iALS and item-kNN. Each tries a few settings and keeps what validation likes best.

Shapes: Q cases, T items.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy import sparse

from benchmarks.peers.exchange import LISTED
from benchmarks.peers.material import VALIDATION_USERS, Material, Questions, mean_ndcg

Scores = Callable[[sparse.csr_matrix], npt.NDArray[np.float32]]
"""(Q, T) what each user has → (Q, T) scores."""
Fit = Callable[..., Scores]
"""Makes a scorer of the (U, T) training matrix, under settings by name."""

EASE_PENALTIES = (200, 50, 800, 100, 400)
SIMILARITIES = {"cosine": CosineRecommender, "tf-idf": TFIDFRecommender, "bm25": BM25Recommender}
CASES_AT_ONCE = 512


def ease(material: Material, *, minutes: float, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Embarrassingly shallow autoencoder (Steck, WWW 2019), from its closed form.

    RecTools 0.19 multiplies by the transpose of the item-item weights; this is the paper's own product.
    """

    def fit(train: sparse.csr_matrix, *, penalty: float) -> Scores:
        gram = np.asarray((train.T @ train).todense(), dtype=np.float32)
        gram[np.diag_indices_from(gram)] += penalty
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        np.fill_diagonal(weights, 0)
        return lambda had: np.asarray(had @ weights, dtype=np.float32)

    settings = [{"penalty": penalty} for penalty in EASE_PENALTIES]
    return _best(material, fit, settings, minutes=minutes, threads=threads)


def ials(material: Material, *, minutes: float, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Implicit alternating least squares (Hu, Koren and Volinsky, ICDM 2008), as `implicit` has it.

    A case's user is solved for anew from the whole history, so the newest events count without being trained on. The
    settings are around those of Rendle et al., RecSys 2022: many factors, little weight on what was not chosen.
    """

    def fit(train: sparse.csr_matrix, **settings: Any) -> Scores:
        model = AlternatingLeastSquares(**settings, iterations=15, num_threads=threads, random_state=seed)
        model.fit(train, show_progress=False)

        def score(had: sparse.csr_matrix) -> npt.NDArray[np.float32]:
            vectors = model.recalculate_user(np.arange(had.shape[0]), had)
            return np.asarray(vectors @ model.item_factors.T, dtype=np.float32)

        return score

    settings = [
        {"factors": factors, "alpha": alpha, "regularization": regularization}
        for factors in (64, 128, 256)
        for alpha in (1.0, 4.0, 16.0)
        for regularization in (3.0, 30.0)
    ]
    return _best(material, fit, settings, minutes=minutes, threads=threads)


def item_knn(material: Material, *, minutes: float, seed: int, threads: int) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Item-kNN with `implicit`'s three similarities: cosine, TF-IDF and BM25."""

    def fit(train: sparse.csr_matrix, *, similarity: str, neighbours: int) -> Scores:
        model = SIMILARITIES[similarity](K=neighbours, num_threads=threads)
        model.fit(train.astype(np.float64), show_progress=False)
        return lambda had: np.asarray((had @ model.similarity).todense(), dtype=np.float32)

    settings = [
        {"similarity": similarity, "neighbours": neighbours}
        for similarity in SIMILARITIES
        for neighbours in (20, 50, 100, 200, 500)
    ]
    return _best(material, fit, settings, minutes=minutes, threads=threads)


def _best(
    material: Material, fit: Fit, settings: Sequence[dict[str, Any]], *, minutes: float, threads: int
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit under each setting in turn while time lasts, and rank the cases by the best."""
    began = time.process_time()
    train = _matrix(material.train, material)
    validation = material.validation.thinned(VALIDATION_USERS)
    tried, best, capped = [], None, False
    for chosen in settings:
        if best is not None and time.process_time() - began > 60 * minutes * threads:
            capped = True
            break
        fitted_from = time.monotonic()
        scorer = fit(train, **chosen)
        fit_seconds = time.monotonic() - fitted_from
        ndcg = mean_ndcg(_rank(scorer, validation, material, listed=10), validation.targets)
        tried.append({**chosen, "validation_ndcg@10": ndcg})
        if best is None or ndcg > best[0]:
            best = ndcg, chosen, scorer, fit_seconds
    assert best is not None
    ndcg, parameters, scorer, fit_seconds = best
    return _rank(scorer, material.cases, material, listed=LISTED), {
        "parameters": parameters,
        "validation_ndcg@10": ndcg,
        "tried": tried,
        "capped": capped,
        "items_known": material.num_items,
        "training_events_per_second": round(len(material.train) / fit_seconds, 1),
    }


def _matrix(rows: pd.DataFrame, material: Material) -> sparse.csr_matrix:
    """(U, T) who has what; a repeat counts once."""
    known = rows[rows["item"] < material.num_items]
    shape = (len(material.user_ids), material.num_items)
    matrix = sparse.csr_matrix((np.ones(len(known), np.float32), (known["user"], known["item"])), shape=shape)
    matrix.data[:] = 1
    return matrix


def _rank(scorer: Scores, questions: Questions, material: Material, *, listed: int) -> pd.DataFrame:
    """user, item, rank, score: the best of what each user does not have yet."""
    had = _matrix(questions.histories, material)
    frames = []
    for at in range(0, len(questions.users), CASES_AT_ONCE):
        users = questions.users[at : at + CASES_AT_ONCE]
        scores = scorer(had[users])
        scores[had[users].nonzero()] = -np.inf
        k = min(listed, scores.shape[1])
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable"), 1)
        frames.append(
            pd.DataFrame(
                {
                    "user": np.repeat(users, k),
                    "item": best.ravel(),
                    "rank": np.tile(np.arange(1, k + 1), len(users)),
                    "score": np.take_along_axis(scores, best, 1).ravel(),
                }
            )
        )
    rankings = pd.concat(frames, ignore_index=True)
    return rankings[rankings["score"] > -np.inf]
