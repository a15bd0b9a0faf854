"""Vectors in, ids out: exact inner-product search that can be filtered, changed and saved.

B queries, N rows, D vector width, K answer length.
"""

import hashlib
import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import faiss
import numpy as np
import numpy.typing as npt

from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.kinds import EXACT, Kind

Ids = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]


class Neighbours(NamedTuple):
    """What a search found, best first; equal scores are ordered by smaller id."""

    ids: Ids
    """(B, K) −1 where fewer than K rows are eligible."""
    scores: Vectors
    """(B, K) inner products; −inf beside an id of −1."""


class VectorIndex:
    """An inner-product index over rows that have an id and, if wanted, attributes.

    Example:
        >>> index = VectorIndex.build(np.eye(3, dtype=np.float32), np.array([10, 11, 12]))
        >>> index.search(np.array([[0.0, 1.0, 0.5]], dtype=np.float32), 2).ids
        array([[11, 12]])
    """

    def __init__(self, ids: Ids, vectors: Vectors, attributes: Attributes, kind: Kind, fingerprint: str) -> None:
        self._ids, self._vectors, self._attributes = ids, vectors, attributes
        self.kind = kind
        self.fingerprint = fingerprint

    @classmethod
    def build(
        cls,
        vectors: Vectors,  # (N, D)
        ids: Ids,  # (N,)
        *,
        kind: Kind = EXACT,
        attributes: Attributes | None = None,
        fingerprint: str = "",
    ) -> Self:
        """Index N rows.

        Raises:
            VectorIndexError: non-finite or wrongly shaped vectors, negative or repeated ids.
        """
        vectors, ids = _checked_rows(vectors, ids)
        return cls(ids, vectors, attributes or Attributes(), kind, fingerprint)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def dim(self) -> int:
        """D, the width of a vector."""
        return int(self._vectors.shape[1])

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        *,
        filters: Filter | Sequence[Filter | None] | None = None,
    ) -> Neighbours:
        """The k rows of the highest inner product for each query, among those its filter lets through.

        One filter serves the whole batch; a sequence gives each query its own.

        Raises:
            VectorIndexError: queries of another width or not finite, k below 1, filters that are not B long.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim or not np.isfinite(queries).all():
            raise VectorIndexError(
                f"queries {queries.shape}: expected finite rows of width {self.dim}, (B, {self.dim})."
            )
        if k < 1:
            raise VectorIndexError(f"k is {k}: ask for at least one row.")
        per_query = filters if isinstance(filters, Sequence) else [filters] * len(queries)
        if len(per_query) != len(queries):
            raise VectorIndexError(
                f"{len(per_query)} filters for {len(queries)} queries: give one for all or one each."
            )
        found = Neighbours(
            np.full((len(queries), k), -1, dtype=np.int64), np.full((len(queries), k), -np.inf, dtype=np.float32)
        )
        for row, (query, condition) in enumerate(zip(queries, per_query, strict=True)):
            eligible = np.flatnonzero(self._mask(condition)) if condition else np.arange(len(self))
            scores = self._vectors[eligible] @ query
            best = np.lexsort((self._ids[eligible], -scores))[:k]
            found.ids[row, : len(best)] = self._ids[eligible[best]]
            found.scores[row, : len(best)] = scores[best]
        return found

    def upsert(self, ids: Ids, vectors: Vectors, attributes: Attributes | None = None) -> None:
        """Add rows, replacing those whose id is already there; the next search sees them."""
        vectors, ids = _checked_rows(vectors, ids)
        attributes = attributes or Attributes()
        kept = ~np.isin(self._ids, ids)
        self._attributes = Attributes(
            categories=[c for c, keep in zip(self._categories(), kept, strict=True) if keep]
            + list(attributes.categories or [()] * len(ids)),
            numbers={
                name: np.concatenate(
                    [
                        self._attributes.numbers.get(name, np.full(len(kept), np.nan))[kept],
                        attributes.numbers.get(name, np.full(len(ids), np.nan)),
                    ]
                )
                for name in {*self._attributes.numbers, *attributes.numbers}
            },
        )
        self._ids = np.concatenate([self._ids[kept], ids])
        self._vectors = np.concatenate([self._vectors[kept], vectors])

    def delete(self, ids: Ids) -> None:
        """Remove rows; ids that are not there are passed over."""
        kept = ~np.isin(self._ids, np.asarray(ids, dtype=np.int64))
        self._attributes = Attributes(
            categories=[c for c, keep in zip(self._categories(), kept, strict=True) if keep],
            numbers={name: column[kept] for name, column in self._attributes.numbers.items()},
        )
        self._ids, self._vectors = self._ids[kept], self._vectors[kept]

    def save(self, directory: Path | str) -> None:
        """Write the index beside ``directory``, then put it in place: a killed save leaves the old index whole."""
        target = Path(directory)
        beside = target.with_name(target.name + ".part")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        np.save(beside / "ids.npy", self._ids)
        flat = faiss.IndexFlatIP(self.dim)
        flat.add(self._vectors)
        faiss.write_index(flat, str(beside / "vectors.faiss"))
        (beside / "attributes.json").write_text(
            json.dumps(
                {
                    "categories": [sorted(c) for c in self._categories()],
                    "numbers": {name: column.tolist() for name, column in self._attributes.numbers.items()},
                }
            )
        )
        manifest = {
            "fingerprint": self.fingerprint,
            "kind": type(self.kind).__name__,
            "files": {path.name: _sha256(path) for path in sorted(beside.iterdir())},
        }
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=2))
        shutil.rmtree(target, ignore_errors=True)
        beside.replace(target)

    @classmethod
    def load(cls, directory: Path | str, *, fingerprint: str | None = None) -> Self:
        """Read a saved index, checking every file against the manifest.

        Raises:
            VectorIndexError: no index there, a damaged file, or a fingerprint other than the one asked for.
        """
        source = Path(directory)
        try:
            manifest = json.loads((source / "manifest.json").read_text())
        except (OSError, ValueError) as cause:
            raise VectorIndexError(
                f"{source}: no readable index ({cause}). Build it with `recsys index build`."
            ) from cause
        for name, sha256 in manifest["files"].items():
            if not (source / name).is_file() or _sha256(source / name) != sha256:
                raise VectorIndexError(f"{source / name}: damaged or missing. Build the index again.")
        if fingerprint is not None and manifest["fingerprint"] != fingerprint:
            raise VectorIndexError(
                f"{source}: made for fingerprint {manifest['fingerprint']!r}, not {fingerprint!r}. "
                "Build the index again from this bundle."
            )
        ids = np.load(source / "ids.npy")
        flat = faiss.read_index(str(source / "vectors.faiss"))
        saved = json.loads((source / "attributes.json").read_text())
        attributes = Attributes(
            categories=saved["categories"],
            numbers={name: np.array(column, dtype=np.float64) for name, column in saved["numbers"].items()},
        )
        return cls(ids, flat.reconstruct_n(0, flat.ntotal), attributes, EXACT, manifest["fingerprint"])

    def _categories(self) -> Sequence[Collection[str]]:
        return self._attributes.categories or [()] * len(self)

    def _mask(self, condition: Filter) -> npt.NDArray[np.bool_]:
        mask = ~np.isin(self._ids, np.asarray(list(condition.deny), dtype=np.int64))
        if condition.allow is not None:
            mask &= np.isin(self._ids, np.asarray(list(condition.allow), dtype=np.int64))
        if condition.any_of or condition.all_of or condition.none_of:
            for row, named in enumerate(self._categories()):
                categories = set(named)
                mask[row] &= (
                    (not condition.any_of or not categories.isdisjoint(condition.any_of))
                    and categories.issuperset(condition.all_of)
                    and categories.isdisjoint(condition.none_of)
                )
        for name, (low, high) in condition.ranges.items():
            if name not in self._attributes.numbers:
                known = ", ".join(sorted(self._attributes.numbers)) or "none"
                raise VectorIndexError(f"filter: no numeric column {name!r}; the index has: {known}.")
            column = self._attributes.numbers[name]
            mask &= ~np.isnan(column)
            mask &= (low is None or column >= low) & (high is None or column <= high)
        return mask


def _checked_rows(vectors: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    ids = np.ascontiguousarray(ids, dtype=np.int64)
    if vectors.ndim != 2 or ids.shape != (len(vectors),):
        raise VectorIndexError(f"vectors {vectors.shape} and ids {ids.shape}: expected (N, D) and (N,).")
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise VectorIndexError(f"vectors, row {row} (id {ids[row]}): not finite. Leave the row out or mend its vector.")
    if len(ids) and ids.min() < 0:
        raise VectorIndexError(f"ids: {ids.min()} is negative. Ids are 0 or more; −1 means nothing was found.")
    if len(np.unique(ids)) != len(ids):
        raise VectorIndexError("ids: some stand more than once in one call. Keep one row per id.")
    return vectors, ids


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
