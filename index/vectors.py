"""The vectors of a sealed block, kept whole: they score exactly, and everything else can be rebuilt from them.

B queries, N rows, D vector width, E eligible rows, K answer length.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from index import bitmaps
from index.bitmaps import Slots
from index.grouping import grouped
from index.neighbours import Scores, Vectors, best_of
from index.scan import ROWS_AT_ONCE, ROWS_AT_ONCE_ALONE, scan

_BATCH = 8  # from so many queries on, one matrix product beats FAISS's scan
_HALF_BATCH = 24  # the same for float16 rows, which the product must first widen
_MANY_ROWS = 100_000  # from so many float32 rows on, so does a product with a single query on several cores
_FEW = 2  # up to so many queries, rows are scored where they lie; for more, copied together and multiplied
_TIE_MARGIN = 1e-6  # one row scored alone or within a batch may differ by this much


class SealedVectors:
    """N vectors that never change, in memory or mapped from a file; also the engine of exact search."""

    exact = True
    takes_selector = True
    most = 1 << 31  # as many answers as there are rows

    def __init__(self, flat: faiss.Index) -> None:
        """Wrap a flat FAISS index of float32 or float16 rows."""
        self.flat = flat
        self.dim: int = flat.d
        dtype = np.float16 if isinstance(flat, faiss.IndexScalarQuantizer) else np.float32
        codes = faiss.rev_swig_ptr(flat.codes.data(), flat.codes.size()) if flat.ntotal else np.empty(0, dtype=np.uint8)
        self._table: npt.NDArray[Any] = codes.view(dtype).reshape(flat.ntotal, flat.d)
        self._batch = _BATCH if dtype is np.float32 else _HALF_BATCH

    @classmethod
    def of(
        cls,
        parts: Iterable[Vectors],  # (n, D) each
        dim: int,
        *,
        half: bool,
    ) -> Self:
        """Copy vectors, given in one part or many, into memory of our own."""
        flat = faiss.index_factory(dim, "SQfp16" if half else "Flat", faiss.METRIC_INNER_PRODUCT)
        for part in parts:
            flat.add(part)
        return cls(flat)

    @classmethod
    def mapped(cls, path: Path) -> Self:
        """The vectors of a file, paged in as they are used."""
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

    def write(self, path: Path) -> None:
        """Write what ``mapped`` reads."""
        faiss.write_index(self.flat, str(path))

    def __len__(self) -> int:
        return len(self._table)

    def take(self, slots: Slots) -> Vectors:  # (E, D)
        """Copies of some rows, as float32."""
        return np.take(self._table, slots, axis=0).astype(np.float32, copy=False)

    def cost_ns(self, queries: int, k: int, share: float = 1.0, *, selects: bool = False) -> float:
        """About how long some queries take on one core; the vectors are read once for all of a batch."""
        share = share if selects else 1.0
        if queries >= self._batch:
            a_row = self.dim * (0.04 + 1.0 / queries) + (1.0 if share < 1.0 else 0.0)
            a_place = 60.0 * (1 + len(self) / ROWS_AT_ONCE)  # the k best are put in order once for each part
        else:
            a_row = 0.3 * self.dim if share == 1.0 else 2.0 + 0.6 * self.dim * share
            a_place = 50.0
        return queries * (a_row * len(self) + a_place * k)

    def search(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        eligible: Sequence[BitMap] | None = None,  # B, one object where queries share a filter
        *,
        share: float = 1.0,
    ) -> tuple[Scores, Slots]:  # (B, K) each, −1 slots after the last eligible row
        """The k best rows, exactly, whatever ``share``: of rows that tie for the last place, the first ones."""
        alone = len(queries) == 1 and eligible is None and len(self) >= _MANY_ROWS and self._table.dtype == np.float32
        if alone or len(queries) >= self._batch:
            at_once = ROWS_AT_ONCE_ALONE if alone else ROWS_AT_ONCE
            return scan(queries, self._parts(at_once), k, rows=len(self), eligible=eligible)
        if eligible is None:
            return self._one_by_one(queries, k, None)
        scores, slots = np.empty((len(queries), k), dtype=np.float32), np.empty((len(queries), k), dtype=np.int64)
        for bitmap, members in grouped(eligible):
            scores[members], slots[members] = self._one_by_one(queries[members], k, bitmap)
        return scores, slots

    def search_among(
        self,
        queries: Vectors,  # (B, D)
        k: int,
        slots: Slots,  # (E,) ascending
    ) -> tuple[Scores, Slots]:  # (B, K) each
        """The k best of some rows, exactly, without a look at the others."""
        if len(slots) and self._where_they_lie(len(queries)):
            scores = np.empty((len(queries), len(slots)), dtype=np.float32)
            for query, found in zip(queries, scores, strict=True):
                taken = faiss.swig_ptr(slots)
                self.flat.compute_distance_subset(1, faiss.swig_ptr(query), len(slots), faiss.swig_ptr(found), taken)
            best = best_of(scores, slots, k)
            return best.scores, best.ids
        starts = range(0, len(slots), ROWS_AT_ONCE)
        parts = (self.take(slots[start : start + ROWS_AT_ONCE]) for start in starts)
        scores, places = scan(queries, parts, k, rows=len(slots))
        return scores, np.where(places < 0, -1, slots[places]) if len(slots) else places

    def among_cost_ns(self, queries: int, eligible: int) -> float:
        """About how long ``search_among`` takes on one core."""
        return self.dim * eligible * (0.45 * queries if self._where_they_lie(queries) else 0.9 + 0.05 * queries)

    def _where_they_lie(self, queries: int) -> bool:
        return queries <= _FEW and self._table.dtype == np.float32

    def _parts(self, at_once: int) -> Iterator[Vectors]:
        for start in range(0, len(self), at_once):
            part = self._table[start : start + at_once]
            yield part if part.dtype == np.float32 else part.astype(np.float32)

    def _one_by_one(self, queries: Vectors, k: int, eligible: BitMap | None) -> tuple[Scores, Slots]:
        params = None if eligible is None else faiss.SearchParameters(sel=selector_of(eligible, len(self)))
        scores, slots = self.flat.search(queries, k + 1, params=params)
        for row, (last, following) in enumerate(scores[:, k - 1 :].tolist()):
            if last == following and slots[row, k] >= 0:  # a row that did not come in shares the last place
                scores[row, :k], slots[row, :k] = self._first_at_least(queries[row], scores[row, k - 1], k, params)
        return scores[:, :k], slots[:, :k]

    def _first_at_least(
        self, query: Vectors, least: np.float32, k: int, params: faiss.SearchParameters | None
    ) -> tuple[Scores, Slots]:
        margin = _TIE_MARGIN * max(1.0, abs(float(least)))
        _, scores, slots = self.flat.range_search(query[None], float(least) - margin, params=params)
        best = np.lexsort((slots, -scores))[:k]
        return scores[best], slots[best]


def selector_of(eligible: BitMap, rows: int) -> faiss.IDSelector:
    """The same rows as FAISS wants them: one bit a row."""
    bits = np.packbits(bitmaps.mask_of(eligible, rows), bitorder="little")
    return faiss.IDSelectorBitmap(bits)
