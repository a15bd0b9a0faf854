"""What every index can do, wherever it lives: on this machine (``VectorIndex``) or on a cluster (``MilvusIndex``).

B queries, n rows, D vector width, K answer length.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy.typing as npt

from index.filters import Attributes, Filter, IdList
from index.neighbours import Neighbours, Vectors


class Index(Protocol):
    """Inner-product search over rows that have an id, filtered and changed while it serves."""

    def __len__(self) -> int: ...

    @property
    def dim(self) -> int:
        """D, the width of a vector."""
        ...

    def search(
        self,
        queries: npt.ArrayLike,  # (B, D)
        k: int,
        *,
        filters: Filter | Sequence[Filter | None] | None = None,
    ) -> Neighbours:  # (B, K) each
        """The k rows of the highest inner product for each query, among those its filter lets through."""
        ...

    def vectors_of(self, ids: IdList) -> Vectors:  # (n, D)
        """The vectors of some ids."""
        ...

    def upsert(
        self,
        ids: npt.ArrayLike,  # (n,)
        vectors: npt.ArrayLike,  # (n, D)
        attributes: Attributes | None = None,
    ) -> None:
        """Add rows, or replace those whose id is there; the next search sees them."""
        ...

    def delete(self, ids: npt.ArrayLike) -> None:  # (n,)
        """Remove rows; ids that are not there are passed over."""
        ...

    def close(self) -> None:
        """Let go of files, locks or connections."""
        ...
