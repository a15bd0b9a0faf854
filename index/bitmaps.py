"""Sets of row numbers as compressed bitmaps, and the fast ways between them and arrays.

pyroaring fills a bitmap from a list at about 50 ns a row, holding the interpreter all the while; a bitmap written
straight into roaring's portable format costs a hundredth of that, and blocks nobody.
"""

import struct

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

Slots = npt.NDArray[np.int64]

_CHUNK = 1 << 16  # rows per roaring container
_ARRAY_LIMIT = 4096  # a container of more rows than this is stored as a bit set
_COOKIE_WITHOUT_RUNS = 12346


def of_range(stop: int) -> BitMap:
    """All rows below ``stop``."""
    return BitMap(range(stop))


def of_slots(slots: Slots, rows: int) -> BitMap:
    """The given rows, in any order, of a block of ``rows``."""
    if len(slots) < 1000:
        return BitMap(slots.astype(np.uint32))
    mask = np.zeros(rows, dtype=np.bool_)
    mask[slots] = True
    return of_mask(mask)


def of_mask(
    mask: npt.NDArray[np.bool_],  # (rows,)
) -> BitMap:
    """The rows where ``mask`` is true.

    Example:
        >>> of_mask(np.array([True, False, True]))
        BitMap([0, 2])
    """
    chunks = -(-len(mask) // _CHUNK)
    bits = np.zeros((chunks, _CHUNK), dtype=np.bool_)
    bits.reshape(-1)[: len(mask)] = mask
    sizes = np.count_nonzero(bits, axis=1)
    keys = np.flatnonzero(sizes)
    bodies = [_container(bits[key], int(sizes[key])) for key in keys]
    heads = np.stack([keys, sizes[keys] - 1], axis=1).astype("<u2").tobytes()
    first = 8 + len(heads) + 4 * len(bodies)
    offsets = first + np.cumsum([0, *map(len, bodies[:-1])]) if bodies else np.zeros(0)
    return BitMap.deserialize(
        struct.pack("<II", _COOKIE_WITHOUT_RUNS, len(bodies))
        + heads
        + offsets.astype("<u4").tobytes()
        + b"".join(bodies)
    )


def slots_of(bitmap: BitMap) -> Slots:
    """The rows of a bitmap, ascending."""
    return np.frombuffer(bitmap.to_array(), dtype=np.uint32).astype(np.int64)


def mask_of(bitmap: BitMap, rows: int) -> npt.NDArray[np.bool_]:
    """(rows,) true where the bitmap holds the row."""
    mask = np.zeros(rows, dtype=np.bool_)
    mask[np.frombuffer(bitmap.to_array(), dtype=np.uint32)] = True
    return mask


def contains(bitmap: BitMap, slots: Slots, rows: int) -> npt.NDArray[np.bool_]:
    """Which of ``slots`` (any shape, −1 allowed) the bitmap of a block of ``rows`` holds.

    Looks in the smaller of the set and its complement: a user's few seen items cost what few items cost.
    """
    outside = len(bitmap) * 2 > rows
    listed = slots_of(bitmap.flip(0, rows) if outside else bitmap)
    if not len(listed):
        return (slots >= 0) & outside
    place = np.minimum(np.searchsorted(listed, slots), len(listed) - 1)
    found: npt.NDArray[np.bool_] = listed[place] == slots
    return (slots >= 0) & ~found if outside else found


def _container(bits: npt.NDArray[np.bool_], size: int) -> bytes:
    if size > _ARRAY_LIMIT:
        return np.packbits(bits, bitorder="little").tobytes()
    return np.flatnonzero(bits).astype("<u2").tobytes()
