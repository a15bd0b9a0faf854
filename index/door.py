"""What is checked before anything is searched or changed. Inside, arrays are trusted.

B queries, n rows, D vector width.
"""

import operator
from collections.abc import Collection, Sequence

import faiss
import numpy as np
import numpy.typing as npt

from index.errors import VectorIndexError
from index.filters import Attributes, Filter
from index.neighbours import Ids, Vectors

MOST = 1e15
"""The largest number a vector may hold: products of such vectors still fit a float32."""
MOST_IN_HALF = 6e4
_FLOAT32 = np.dtype(np.float32)
_norm = faiss.fvec_norm_L2sqr


def checked_vectors(vectors: npt.ArrayLike, dim: int | None, what: str, *, most: float = MOST) -> Vectors:
    """Finite float32 rows, of the width asked for.

    Raises:
        VectorIndexError: not numbers, another shape or width, or a value that is not finite or too large.
    """
    rows = _as_rows(vectors, what)
    if rows.ndim != 2 or rows.shape[1] == 0 or (dim is not None and rows.shape[1] != dim):
        raise VectorIndexError(f"{what} {rows.shape}: expected a 2-D array with rows of width {dim or '1 or more'}.")
    if not np.vdot(rows, rows) <= most * most and not (np.abs(rows) <= most).all():  # so put, they catch NaN too
        row = int(np.flatnonzero(~(np.abs(rows) <= most).all(axis=1))[0])
        raise VectorIndexError(
            f"{what}, row {row}: holds a number that is not finite or beyond {most:g}. Leave it out or mend it."
        )
    return rows


def _as_rows(vectors: npt.ArrayLike, what: str) -> Vectors:
    try:
        array = np.asarray(vectors)
    except ValueError as cause:
        raise VectorIndexError(f"{what}: rows of different widths. Give each the same number of values.") from cause
    if array.dtype.kind not in "fiu":
        raise VectorIndexError(f"{what}, {array.dtype}: expected numbers.")
    with np.errstate(over="ignore"):  # what overflows is refused as not finite
        return np.ascontiguousarray(array, dtype=np.float32)


def checked_ids(ids: npt.ArrayLike) -> Ids:
    """Ids as a flat int64 array.

    Raises:
        VectorIndexError: not whole numbers, negative, or not a flat list.
    """
    try:
        array = np.asarray(ids)
    except ValueError as cause:
        raise VectorIndexError("ids: expected a flat list of whole numbers.") from cause
    if array.shape == (0,):
        return np.empty(0, dtype=np.int64)  # an empty list has no type of its own
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise VectorIndexError(f"ids, {array.dtype} {array.shape}: expected a flat list of whole numbers.")
    array = array.astype(np.int64)
    if array.min() < 0:
        raise VectorIndexError(f"ids: {array.min()} is negative. Ids are 0 or more; −1 means nothing was found.")
    return array


def checked_rows(
    ids: npt.ArrayLike, vectors: npt.ArrayLike, attributes: Attributes | None, *, dim: int | None, half: bool
) -> tuple[Ids, Vectors, Attributes]:
    """Rows to be taken in.

    Raises:
        VectorIndexError: what ``checked_ids`` and ``checked_vectors`` refuse, repeated ids, or lengths that differ.
    """
    checked, rows = checked_ids(ids), checked_vectors(vectors, dim, "vectors", most=MOST_IN_HALF if half else MOST)
    if len(checked) != len(rows):
        raise VectorIndexError(f"{len(checked)} ids for {len(rows)} vectors: give one id for each row.")
    unique, counts = np.unique(checked, return_counts=True)
    if len(unique) < len(checked):
        raise VectorIndexError(f"ids {unique[counts > 1][:5].tolist()} stand more than once. Keep one row for each id.")
    return checked, rows, _checked_attributes(attributes or Attributes(), len(rows))


def _checked_attributes(attributes: Attributes, rows: int) -> Attributes:
    if len(attributes.categories) not in (0, rows):
        raise VectorIndexError(f"attributes: {len(attributes.categories)} lists of categories for {rows} rows.")
    for row, categories in enumerate(attributes.categories):
        if isinstance(categories, str) or not all(isinstance(category, str) for category in categories):
            raise VectorIndexError(f"attributes, row {row}: {categories!r} is not a list of strings. Give a list.")
    columns = {name: np.asarray(column, dtype=np.float64) for name, column in attributes.numbers.items()}
    for name, column in columns.items():
        if column.shape != (rows,):
            raise VectorIndexError(
                f"attributes, column {name!r} {column.shape}: expected one number for each of {rows} rows."
            )
    return Attributes(attributes.categories, columns)


def checked_k(k: int) -> int:
    """How many rows are asked for.

    Raises:
        VectorIndexError: not a whole number above zero.
    """
    try:
        asked = operator.index(k)
    except TypeError as cause:
        raise VectorIndexError(f"k is {k!r}: give a whole number, 1 or more.") from cause
    if asked < 1:
        raise VectorIndexError(f"k is {asked}: give a whole number, 1 or more.")
    return asked


def checked_question(queries: npt.ArrayLike, k: int, dim: int) -> tuple[Vectors, int]:
    """Queries and how many rows they ask for.

    What needs no conversion is let through at once: a search of a large index leaves cold caches behind, in which
    every line and call costs some µs.

    Raises:
        VectorIndexError: what ``checked_vectors`` and ``checked_k`` refuse.
    """
    if type(k) is int and k > 0 and isinstance(queries, np.ndarray) and queries.dtype is _FLOAT32:
        rows = np.ascontiguousarray(queries)
        # Sum of squares by FAISS, whose code the search is about to need: half as long as by numpy, which asks BLAS.
        if rows.ndim == 2 and rows.shape[1] == dim and _norm(faiss.swig_ptr(rows), rows.size) <= MOST * MOST:
            return rows, k
    return checked_vectors(queries, dim, "queries"), checked_k(k)


def checked_filters(
    filters: Filter | Sequence[Filter | None], queries: int, columns: Collection[str]
) -> list[Filter | None]:
    """One filter for each query.

    Raises:
        VectorIndexError: as many filters as queries are not, a numeric column nobody has, a bound that is NaN.
    """
    each: list[Filter | None] = [filters] * queries if isinstance(filters, Filter) else list(filters)
    if len(each) != queries:
        raise VectorIndexError(f"{len(each)} filters for {queries} queries: give one for all, or one for each.")
    for condition in {id(c): c for c in each if c is not None}.values():
        _check_ranges(condition, columns)
    return each


def _check_ranges(condition: Filter, columns: Collection[str]) -> None:
    for name, bounds in condition.ranges.items():
        if name not in columns:
            known = ", ".join(sorted(columns)) or "none"
            raise VectorIndexError(f"filter, column {name!r}: no row has it. Numeric columns here: {known}.")
        if any(bound is not None and bound != bound for bound in bounds):
            raise VectorIndexError(f"filter, column {name!r}: a bound is NaN. Leave an end open with None.")
