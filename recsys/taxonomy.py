"""What a user can be interested in, and which of it each item is: the items' categories, or clusters of their texts.

N items, C interests, T width of a text vector, K clusters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from recsys.catalogue import Catalogue
from recsys.clusters import find_centres
from recsys.terms import names_of

MOST_INTERESTS_OF_AN_ITEM = 3
"""Where they are discovered; categories are taken as they are."""


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """Interests, numbered, and the part that each has in every item.

    Example:
        >>> films = Taxonomy.of([(), ("War", "Drama"), (), ("Drama",)])
        >>> films.names, films.shares.toarray().tolist()
        (('Drama', 'War'), [[0.0, 0.0], [0.5, 0.5], [0.0, 0.0], [1.0, 0.0]])
    """

    names: tuple[str, ...]
    """(C,) in alphabetical order."""
    shares: sparse.csr_matrix
    """(N + 1, C) float32: an item of several interests is as much of each, its row summing to 1; zeros where none."""

    @classmethod
    def of(cls, interests: Sequence[Sequence[str]]) -> "Taxonomy":
        """From the interests of each row of a catalogue, padding included: ``(N + 1,)``."""
        names = tuple(sorted({name for item in interests for name in item}))
        number = {name: column for column, name in enumerate(names)}
        sizes = np.array([len(item) for item in interests])
        columns = np.array([number[name] for item in interests for name in item], dtype=np.int64)
        parts = np.repeat(1 / np.maximum(sizes, 1), sizes).astype(np.float32)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        return cls(names, sparse.csr_matrix((parts, columns, starts), shape=(len(sizes), len(names))))

    def __len__(self) -> int:
        """C."""
        return len(self.names)

    def shares_of(
        self, item_idx: npt.NDArray[np.integer], *, later: Callable[[int], Sequence[str]] | None = None
    ) -> npt.NDArray[np.float32]:
        """(H, C) the part of each interest in each of H events.

        Args:
            item_idx: ``(H,)``.
            later: Interests of items that came after this was made, whose numbers are beyond N; without it, and where
                they are others than these, such items are of no interest.
        """
        known = item_idx < self.shares.shape[0]
        mass: npt.NDArray[np.float32] = self.shares[np.where(known, item_idx, 0)].toarray()
        if later is not None:
            for event in np.flatnonzero(~known):
                columns = [self.names.index(name) for name in later(int(item_idx[event])) if name in self.names]
                mass[event, columns] = 1 / max(len(columns), 1)
        return mass


def discover_interests(
    catalogue: Catalogue, vectors: npt.NDArray[np.float32], *, seed: int
) -> tuple[tuple[str, ...], ...]:
    """Interests of items that have no categories: clusters of their vectors, named by the terms of their texts.

    An item is of its nearest cluster, and of any other to which it is nearer than that cluster's own middle member.

    Args:
        catalogue: Whose texts give the names; where there are none, the item nearest to a centre does.
        vectors: ``(N + 1, T)`` of the items' texts, or any other; zero rows are of no interest.
        seed: The same seed gives the same interests.

    Returns:
        ``(N + 1,)`` names per item.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    known = np.flatnonzero(lengths[:, 0] > 0)
    if not len(known):
        return ((),) * len(vectors)
    centres = find_centres(unit[known], rng=np.random.default_rng(seed))
    cosines = unit @ centres.T  # (N + 1, K)
    names = _cluster_names(catalogue, known, cosines)
    held = _held_clusters(cosines[known])
    interests: list[tuple[str, ...]] = [()] * len(vectors)
    for row, clusters in zip(known, held, strict=True):
        interests[row] = tuple(names[cluster] for cluster in clusters)
    return tuple(interests)


def _held_clusters(cosines: npt.NDArray[np.float32]) -> list[list[int]]:
    """(rows, K) → for each row its clusters, the nearest first."""
    nearest = cosines.argmax(1)
    typical = np.array(
        [
            np.median(cosines[nearest == cluster, cluster]) if (nearest == cluster).any() else np.inf
            for cluster in range(cosines.shape[1])
        ]
    )
    held = cosines > typical
    held[np.arange(len(cosines)), nearest] = True
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :MOST_INTERESTS_OF_AN_ITEM]
    return [[int(cluster) for cluster in ranked if mine[cluster]] for ranked, mine in zip(order, held, strict=True)]


def _cluster_names(catalogue: Catalogue, known: npt.NDArray[np.int64], cosines: npt.NDArray[np.float32]) -> list[str]:
    nearest = cosines[known].argmax(1)
    texts = catalogue.texts()
    if any(texts):
        return names_of([[texts[row] for row in known[nearest == cluster]] for cluster in range(cosines.shape[1])])
    middle = known[cosines[known].argmax(0)]
    return [f"like {catalogue.item_ids[row]}" for row in middle]
