"""The vectors and queries a benchmark works on: those of a trained bundle, as they are or grown to any number.

N rows, Q queries, D vector width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_NEIGHBOURS = 10
_NOISE = 0.33  # a cosine of about 0.95 between a grown row and where it was placed
_ROWS_AT_ONCE = 50_000


@dataclass(frozen=True, eq=False)
class Material:
    """What is indexed and what is asked."""

    vectors: Vectors
    """(N, D) unit rows."""
    queries: Vectors
    """(Q, D) unit rows, none of them indexed."""
    description: str


def of_bundle(bundle: Path, rows: int | None, rng: np.random.Generator) -> Material:
    """The item vectors of a bundle, grown to ``rows`` where more are asked for; the queries are its users."""
    items = np.load(bundle / "item_vectors.npy")[1:]  # row 0 is padding
    queries = np.load(bundle / "query_vectors.npy")
    if rows is None or rows <= len(items):
        return Material(items, queries, f"the {len(items):,} item vectors of {bundle}, its held-out users as queries")
    said = (
        f"{rows:,} rows grown from the {len(items):,} item vectors of {bundle}: each lies at a random point between an "
        f"item and one of its {_NEIGHBOURS} nearest, with noise of {_NOISE} of a unit; its held-out users as queries"
    )
    return Material(grown(items, rows, rng), queries, said)


def invented(rows: int, dim: int, rng: np.random.Generator) -> Material:
    """Unit rows around 2,000 centres; for where no bundle is at hand."""
    centres = _unit(rng.normal(size=(2000, dim)).astype(np.float32))
    queries = _unit(_near(centres, rng.integers(2000, size=1000), rng))
    parts = [
        _near(centres, rng.integers(2000, size=min(_ROWS_AT_ONCE, rows - start)), rng)
        for start in range(0, rows, _ROWS_AT_ONCE)
    ]
    return Material(np.concatenate(list(map(_unit, parts))), queries, f"{rows:,} invented rows around 2,000 centres")


def grown(
    items: Vectors,  # (n, D)
    rows: int,
    rng: np.random.Generator,
) -> Vectors:  # (N, D)
    """The items, and further rows between neighbouring ones."""
    nearest = np.argsort(-(items @ items.T), axis=1)[:, 1 : _NEIGHBOURS + 1]
    parts = [items]
    for start in range(len(items), rows, _ROWS_AT_ONCE):
        size = min(_ROWS_AT_ONCE, rows - start)
        one = rng.integers(len(items), size=size)
        other = nearest[one, rng.integers(_NEIGHBOURS, size=size)]
        between = rng.random((size, 1), dtype=np.float32)
        parts.append(_unit(_noisy(_unit(between * items[one] + (1 - between) * items[other]), rng)))
    return np.concatenate(parts)


def _near(centres: Vectors, chosen: npt.NDArray[np.int64], rng: np.random.Generator) -> Vectors:
    return _unit(_noisy(centres[chosen], rng, noise=0.9))


def _noisy(rows: Vectors, rng: np.random.Generator, noise: float = _NOISE) -> Vectors:
    drawn = rng.standard_normal(rows.shape, dtype=np.float32)
    moved: Vectors = rows + drawn * np.float32(noise / np.sqrt(rows.shape[1]))
    return moved


def _unit(rows: Vectors) -> Vectors:
    length: Vectors = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / length
