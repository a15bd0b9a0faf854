"""The bundle's catalogue with what has come, changed and gone since it was trained.

Items of the bundle keep their item_idx. Those that were put later are numbered from N + 1 in the order in which they
first came, and as long as this object lives no number is given to another, not even after a removal. Histories may hold
any of them; the prior, which knows the bundle's items only, treats the others as items that nothing ever followed.

N items of the bundle, D width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from index.filters import Attributes
from index.vector_index import VectorIndex
from recsys.bundle import Bundle
from serving.cold_items import ColdItems
from serving.item_store import ItemDocument, ItemStore, StoredItem
from serving.refusals import UnavailableError

ROOM = 1_000_000
"""How many items may be put beside a bundle's. Memory is taken as they come: a page is given when it is first used."""
ROOM_FOR_TOLD = 16_384
"""How many items that nobody knows the requests of one batch may bring along."""
_AT_ONCE = 4_096


@dataclass(frozen=True)
class ItemName:
    """What an item is called."""

    item_id: str
    title: str


class LiveItems:
    """Names, vectors and whereabouts of all items, brought up to date from an item store.

    One thread changes it; `index_of` and `is_offered` may be asked from any.
    """

    def __init__(self, bundle: Bundle, index: VectorIndex, store: ItemStore, cold: ColdItems) -> None:
        """Take in all that the store holds.

        Args:
            bundle: Whose items they are.
            index: Of the bundle's vectors; what is put or removed is put or removed there.
            store: Of what came later.
            cold: Encodes for this bundle.

        Raises:
            UnavailableError: Texts must be read and there is no encoder, or there are more items than room.
        """
        self._catalogue = bundle.catalogue
        self._trained = bundle.item_vectors
        self._counts: Sequence[int] = bundle.training["item_counts"]
        self._index = index
        self._store = store
        self.cold = cold
        self._first = len(bundle.item_vectors)  # of a live item
        rows = np.empty((self._first + ROOM + ROOM_FOR_TOLD, bundle.item_vectors.shape[1]), np.float32)
        rows[: self._first] = bundle.item_vectors
        self.vectors: Tensor = torch.from_numpy(rows)
        """(more than N, D) by item_idx, bundle's and live ones and those told in requests; a row may be unused."""
        self._given: dict[str, int] = {}  # every item_idx beyond N that was ever given
        self._live: dict[str, int] = {}  # those of items that are there
        self._documents: dict[int, ItemDocument] = {}
        self._live_ids: dict[int, str] = {}
        self._gone: set[int] = set()
        self._told: dict[int, ItemName] = {}
        self._seen = 0
        self.catch_up()

    def catch_up(self) -> bool:
        """Take in what was put and removed since; says whether the vector of a known item is another now.

        Raises:
            UnavailableError: As at the start; it is tried again the next time.
        """
        if self._store.newest() == self._seen:
            return False
        changes = self._store.since(self._seen)
        put = sorted((item for item in changes if item.document is not None), key=lambda item: item.number)
        changed = self._remove([item for item in changes if item.document is None])
        for start in range(0, len(put), _AT_ONCE):
            changed |= self._put(put[start : start + _AT_ONCE])
        self._seen = changes[-1].change
        return changed

    def index_of(self, item_id: str) -> int:
        """The item_idx by which histories hold an item, or 0 for one that is unknown.

        An item of the bundle that was removed is still known to histories; one that was put and removed is not.
        """
        return self._catalogue.index_of(item_id) or self._live.get(item_id, 0)

    def is_offered(self, item_idx: int) -> bool:
        """Whether an item may be recommended and named: it is known and was not removed."""
        return item_idx > 0 and item_idx not in self._gone

    def name(self, item_idx: int) -> ItemName:
        """What an item is called, by the latest that was told of it."""
        if item_idx in self._told:
            return self._told[item_idx]
        document = self._documents.get(item_idx)
        if item_idx < self._first:
            title = self._catalogue.titles[item_idx] if document is None else document.title
            return ItemName(self._catalogue.item_ids[item_idx], title)
        return ItemName(self._live_ids[item_idx], "" if document is None else document.title)

    def categories(self, item_idx: int) -> Sequence[str]:
        """The categories of an item, by the latest that was told of it."""
        document = self._documents.get(item_idx)
        if document is not None:
            return document.categories
        return self._catalogue.categories[item_idx] if item_idx < self._first else ()

    @property
    def live(self) -> Iterator[int]:
        """item_idx of the items beyond the bundle's, the newest first."""
        return reversed(self._live_ids)

    @property
    def untouched(self) -> bool:
        """Whether nothing was ever put or removed."""
        return not self._seen

    def __len__(self) -> int:
        """How many are offered."""
        return self._first - 1 + len(self._live_ids) - len(self._gone)

    def hold(self, told: Sequence[tuple[str, ItemDocument]]) -> list[int]:
        """Rows for items that a request brings along, until `let_go`: (item_id, what is told of it) each."""
        start = self._first + ROOM + len(self._told)
        rows = list(range(start, start + len(told)))
        if not rows:
            return rows
        if rows[-1] >= len(self.vectors):
            raise UnavailableError(f"More than {ROOM_FOR_TOLD} unknown items were told at once.")
        documents = [document for _, document in told]
        vectors = self.cold.vectors(documents, [None] * len(told), [0] * len(told))
        self.vectors[rows] = torch.from_numpy(vectors)
        self._told |= {
            row: ItemName(item_id, document.title) for row, (item_id, document) in zip(rows, told, strict=True)
        }
        return rows

    def let_go(self) -> None:
        """Forget the items that requests brought along."""
        self._told.clear()

    def _put(self, items: Sequence[StoredItem]) -> bool:
        if not items:
            return False
        documents = [item.document or ItemDocument() for item in items]
        item_idx = [self._item_idx(item) for item in items]
        if max(item_idx) >= self._first + ROOM:
            raise UnavailableError(f"There is room for {ROOM:,} items beside the bundle's. Train a new bundle.")
        learnt = [idx if idx < self._first and self._counts[idx] else 0 for idx in item_idx]
        vectors = self.cold.vectors(documents, [item.text for item in items], learnt)
        changed = any(idx < self._first or idx in self._documents for idx in item_idx)
        self.vectors[item_idx] = torch.from_numpy(vectors)
        self._index.upsert(item_idx, vectors, self._attributes(documents))
        for idx, item, document in zip(item_idx, items, documents, strict=True):
            self._documents[idx] = document
            self._gone.discard(idx)
            if idx >= self._first:
                self._live_ids[idx] = item.item_id
                self._live[item.item_id] = idx
        return changed

    def _remove(self, items: Sequence[StoredItem]) -> bool:
        changed, removed = False, []
        for item in items:
            idx = self._catalogue.index_of(item.item_id)
            if idx:
                self._gone.add(idx)
                self.vectors[idx] = torch.from_numpy(self._trained[idx])  # histories go on with what it was trained as
                changed |= idx in self._documents
            else:
                idx = self._live.pop(item.item_id, 0)
                self._live_ids.pop(idx, None)
            self._documents.pop(idx, None)
            removed.append(idx)
        self._index.delete(removed)  # 0, of what was never here, is in no index
        return changed

    def _item_idx(self, item: StoredItem) -> int:
        known = self._catalogue.index_of(item.item_id)
        return known or self._given.setdefault(item.item_id, self._first + len(self._given))

    def _attributes(self, documents: Sequence[ItemDocument]) -> Attributes:
        numbers = {
            name: [document.numbers.get(name, np.nan) for document in documents] for name in self._catalogue.numbers
        }
        return Attributes([document.categories for document in documents], numbers)
