"""What approximate search takes from a report: a bundle's index measured against exact search on held-out users.

The models themselves are judged with exact search; this loss is a number of its own.
"""

from pathlib import Path
from typing import Any

import numpy as np

from index.kinds import to_json
from index.tune import against_exact
from index.vector_index import VectorIndex
from recsys.bundle import Bundle
from serving.index_commands import INDEX, index_of

MOST_QUERIES = 1000
"""Beyond it the recall no longer moves, and exact search over a large catalogue takes its time."""


def index_section(bundle: Bundle, folder: Path) -> dict[str, dict[str, Any]]:
    """The section ``index`` of metrics.json, measured at as many items as the service retrieves.

    Args:
        bundle: As it was loaded from ``folder``.
        folder: Holds the index that is served; where it holds none, the default kind is built and measured.

    Returns:
        ``{"index": …}``; empty where the bundle keeps no vectors of held-out users to ask with.

    Raises:
        VectorIndexError: the index is damaged, or made for another bundle.
    """
    queries = _spread(bundle.query_vectors)
    if not len(queries):
        return {}
    served = (folder / INDEX).exists()
    index = VectorIndex.load(folder / INDEX, fingerprint=bundle.fingerprint) if served else index_of(bundle)
    k = min(bundle.config.prior.num_candidates, len(index))
    found = against_exact(index, queries, k)
    index.close()
    section = {
        "kind": to_json(index.kind),
        "served": served,
        "items": len(index),
        "queries": len(queries),
        f"recall@{k}": found.recall,
        "batch_1_ms": found.batch_1_ms,
        "exact_batch_1_ms": found.exact_batch_1_ms,
    }
    return {"index": section}


def index_line(section: dict[str, Any]) -> str:
    """The section in a sentence.

    Example:
        >>> index_line({"kind": {"name": "FastScan"}, "served": True, "items": 90_000, "queries": 1000,
        ...             "recall@200": 0.9962, "batch_1_ms": 0.3, "exact_batch_1_ms": 2.5})
        'Index FastScan over 90,000 items: recall@200 0.9962 of exact search, 0.300 ms a query where exact takes 2.500.'
    """
    recall = next(name for name in section if name.startswith("recall@"))
    unserved = "" if section["served"] else " (not built yet: the default)"
    return (
        f"Index {section['kind']['name']}{unserved} over {section['items']:,} items: "
        f"{recall} {section[recall]:.4f} of exact search, "
        f"{section['batch_1_ms']:.3f} ms a query where exact takes {section['exact_batch_1_ms']:.3f}."
    )


def _spread(queries: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Up to ``MOST_QUERIES``, evenly spaced: cases lie in the order of their users."""
    return queries[:: -(-len(queries) // MOST_QUERIES) or 1]
