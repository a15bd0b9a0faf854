"""Making a sealed block: from the rows of a build, or from what counts in a state.

N rows, D vector width.
"""

from collections.abc import Iterator

import numpy as np

from index import bitmaps, engines
from index.attribute_table import AttributeTable
from index.bitmaps import Slots
from index.filters import Attributes
from index.kinds import Kind
from index.neighbours import Ids, Vectors
from index.sealed import Sealed
from index.state import State
from index.updates import Delete
from index.vectors import SealedVectors

_ROWS_AT_ONCE = 16_384


def seal(
    ids: Ids,  # (N,)
    vectors: Vectors,  # (N, D)
    attributes: Attributes,
    kind: Kind,
) -> Sealed:
    """A block of new rows."""
    table = AttributeTable()
    table.append(attributes, len(ids))
    order = np.argsort(ids)
    if (ids[1:] < ids[:-1]).any():
        ids, vectors = ids[order], vectors[order]
        table = AttributeTable.gathered([(table, order, np.arange(len(order)))], len(order))
    kept = SealedVectors.of([vectors], vectors.shape[1], half=kind.half)
    return Sealed(ids.copy(), kept, table, engines.build(kind, kept))


def reseal(state: State, kind: Kind) -> Sealed:
    """A block of the rows that count in a state."""
    old, new = bitmaps.slots_of(state.sealed_visible), bitmaps.slots_of(state.delta_visible)
    ids = np.concatenate([state.sealed.ids[old], state.delta.ids_of(new)])
    order = np.argsort(ids)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    table = AttributeTable.gathered(
        [(state.sealed.attributes, old, place[: len(old)]), (state.delta.attributes, new, place[len(old) :])], len(ids)
    )
    vectors = SealedVectors.of(_in_order(state, old, new, order), state.sealed.vectors.dim, half=kind.half)
    return Sealed(ids[order], vectors, table, engines.build(kind, vectors, previous=state.sealed.engine))


def carried(sealed: Sealed, since: State, now: State) -> State:
    """The state over a block resealed from ``since`` that sees what ``now`` sees."""
    state = State.of(sealed)
    gone = np.concatenate(
        [
            since.sealed.ids[bitmaps.slots_of(since.sealed_visible - now.sealed_visible)],
            since.delta.ids_of(bitmaps.slots_of(since.delta_visible - now.delta_visible)),
        ]
    )
    state = state.updated(Delete(gone))
    for update in now.newer_than(since):
        state = state.updated(update)
    return state


def _in_order(state: State, old: Slots, new: Slots, order: Slots) -> Iterator[Vectors]:
    """The vectors of both blocks in the order of their ids, a part at a time."""
    for start in range(0, len(order), _ROWS_AT_ONCE):
        taken = order[start : start + _ROWS_AT_ONCE]
        from_delta = taken >= len(old)
        part = np.empty((len(taken), state.sealed.vectors.dim), dtype=np.float32)
        part[~from_delta] = state.sealed.vectors.take(old[taken[~from_delta]])
        part[from_delta] = state.delta.vectors_of(new[taken[from_delta] - len(old)])
        yield part
