import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from index import bitmaps

CHUNK = 1 << 16


@pytest.mark.parametrize("rows", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
@pytest.mark.parametrize("share", [0, 0.001, 0.0625, 0.5, 1])  # 0.0625: where a container turns from list to bits
def test_a_mask_survives_the_way_through_a_bitmap(rows, share):
    mask = np.random.default_rng(rows).random(rows) < share
    bitmap = bitmaps.of_mask(mask)
    assert bitmap == BitMap(np.flatnonzero(mask).tolist())
    assert (bitmaps.mask_of(bitmap, rows) == mask).all()
    assert (bitmaps.slots_of(bitmap) == np.flatnonzero(mask)).all()


@given(st.lists(st.integers(0, 2999), unique=True))
def test_slots_in_any_order_make_the_set(slots):
    assert bitmaps.of_slots(np.array(slots, dtype=np.int64), 3000) == BitMap(slots)


@given(st.sets(st.integers(0, 9)), st.lists(st.integers(-1, 9)))
def test_contains_looks_in_the_set_or_its_complement(held, asked):
    found = bitmaps.contains(BitMap(held), np.array(asked, dtype=np.int64), 10)
    assert found.tolist() == [slot in held for slot in asked]
