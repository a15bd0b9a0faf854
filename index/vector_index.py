"""Vectors in, ids out: inner-product search that is exact or quick, filtered, changed while it serves, and kept safe.

B queries, N rows, n rows of an update, D vector width, K answer length.
"""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import faiss
import numpy.typing as npt

from index import door, faiss_build, kinds, snapshot, updates
from index.filters import Attributes, Filter, IdList, as_ids
from index.home import Home
from index.kinds import EXACT, Kind
from index.neighbours import Neighbours, Vectors, ties_by_id
from index.sealing import carried, reseal, seal
from index.state import State
from index.updates import Delete, Update, Upsert

COMPACT_AFTER_ROWS = 10_000
COMPACT_AFTER_SHARE = 0.1
"""Updates wait in a block that is scored row by row until they are this many, and this share of the index."""

logger = logging.getLogger(__name__)


class VectorIndex:
    """An inner-product index over rows that have an id and, if wanted, attributes.

    Any number of threads may search while one at a time updates. Rows are searchable as soon as ``upsert`` returns, on
    every kind; once the index has been saved or loaded, they are on the disk by then as well.

    Example:
        >>> index = VectorIndex.build([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [10, 11, 12])
        >>> index.upsert([13], [[0.0, 0.0, 2.0]])
        >>> index.search([[0.0, 1.0, 0.5]], 3).ids
        array([[11, 13, 12]])
    """

    def __init__(self, state: State, kind: Kind, fingerprint: str, home: Home | None = None) -> None:
        """For ``build`` and ``load``."""
        faiss_build.refuse_a_double_install()
        self.kind = kind
        self.fingerprint = fingerprint
        """Of the bundle whose model made the vectors; empty where there is none."""
        self._state = state
        self._home = home
        self._writing = threading.Lock()
        self._compacting = threading.Lock()
        self._compactor: threading.Thread | None = None
        self._patience = 0  # how much must have changed before compaction is tried again after it failed

    @classmethod
    def build(
        cls,
        vectors: npt.ArrayLike,  # (N, D)
        ids: npt.ArrayLike,  # (N,)
        *,
        kind: Kind = EXACT,
        attributes: Attributes | None = None,
        fingerprint: str = "",
    ) -> Self:
        """An index over N rows, in memory; N may be 0.

        Raises:
            VectorIndexError: vectors that are not finite rows of one width, ids that are negative or repeated, a GPU
                kind where there is none.
        """
        checked_ids, rows, checked = door.checked_rows(ids, vectors, attributes, dim=None, half=kind.half)
        return cls(State.of(seal(checked_ids, rows, checked, kind)), kind, fingerprint)

    @classmethod
    def load(cls, directory: Path | str, *, fingerprint: str | None = None, keep_updates: bool = True) -> Self:
        """The index that lives in a directory, every file checked, the vectors mapped rather than read.

        Without ``keep_updates`` the directory is only read: updates stay in memory, for whoever keeps them elsewhere,
        and any number of processes may make their own.

        Raises:
            VectorIndexError: no index, a damaged file, or another fingerprint than the one asked for.
        """
        place = Path(directory).resolve()
        stored = snapshot.read(snapshot.current(place))
        if fingerprint is not None:
            snapshot.refuse_foreign(stored, fingerprint)
        state = State.of(stored.sealed)
        for payload in stored.payloads:
            state = state.updated(updates.decode(payload))
        home = Home(place, stored.folder, stored.log_end) if keep_updates else None
        return cls(state, kinds.from_json(stored.manifest.kind), stored.manifest.fingerprint, home)

    def __len__(self) -> int:
        return len(self._state)

    @property
    def dim(self) -> int:
        """D, the width of a vector."""
        return self._state.dim

    def search(
        self,
        queries: npt.ArrayLike,  # (B, D)
        k: int,
        *,
        filters: Filter | Sequence[Filter | None] | None = None,
        exact: bool = False,
    ) -> Neighbours:  # (B, K) each
        """The k rows of the highest inner product for each query, among those its filter lets through.

        One filter serves the whole batch; a sequence gives each query its own. Whatever the kind, k rows are found
        where k are eligible, and they are those of brute force where a filter leaves few: up to about a tenth of the
        rows, which are scored one and all. Where it leaves more, a kind keeps the recall it has without a filter (see
        ``index.plan``). ``exact`` scores every eligible row, as the kind Exact always does.

        Raises:
            VectorIndexError: queries of another width or not finite, k below 1, filters that are not B long or ask for
                a numeric column nobody has.
        """
        state = self._state
        checked, asked = door.checked_question(queries, k, state.dim)
        if filters is None and state.whole is not None:
            return ties_by_id(state.whole.search_whole(checked, asked, exact=exact))
        each = None if filters is None else door.checked_filters(filters, len(checked), state.columns())
        return ties_by_id(state.search(checked, asked, each, exact=exact))

    def vectors_of(self, ids: IdList) -> Vectors:  # (n, D)
        """The vectors of some ids, as they are kept.

        Raises:
            VectorIndexError: an id that is not in the index.
        """
        return self._state.vectors_of(as_ids(ids))

    def upsert(
        self,
        ids: npt.ArrayLike,  # (n,)
        vectors: npt.ArrayLike,  # (n, D)
        attributes: Attributes | None = None,
    ) -> None:
        """Add rows, or replace whole those whose id is there; the next search sees all of them or, before, none.

        Raises:
            VectorIndexError: what ``build`` refuses, or another writer holds the directory.
        """
        self._apply(Upsert(*door.checked_rows(ids, vectors, attributes, dim=self.dim, half=self.kind.half)))

    def delete(self, ids: npt.ArrayLike) -> None:  # (n,)
        """Remove rows; ids that are not there are passed over.

        Raises:
            VectorIndexError: negative ids, or another writer holds the directory.
        """
        self._apply(Delete(door.checked_ids(ids)))

    def _apply(self, update: Update) -> None:
        if not len(update.ids):
            return
        with self._writing:
            if self._home is not None:
                self._home.append(updates.encode(update))  # on the disk first: what is seen is never lost
            self._state = self._state.updated(update)
            self._compact_if_due()

    def compact(self) -> None:
        """Take the updates into the sealed block and rebuild the engine. Searches and updates go on meanwhile."""
        with self._compacting:
            since = self._state
            if not since.waiting:
                return
            sealed = reseal(since, self.kind)
            part = None
            if self._home is not None:
                with self._writing:
                    self._home.claim()
                part = self._home.prepare(sealed, self.kind, self.fingerprint, resealed=True)
            with self._writing:
                state = carried(sealed, since, self._state)
                if self._home is not None and part is not None:
                    self._home.publish(part, map(updates.encode, state.pending()))
                self._state = state

    def _compact_if_due(self) -> None:
        if self._is_due() and (self._compactor is None or not self._compactor.is_alive()):
            self._compactor = threading.Thread(target=self._compact_aside, name="index-compaction")
            self._compactor.start()

    def _is_due(self) -> bool:
        state = self._state
        return state.waiting >= max(COMPACT_AFTER_ROWS, COMPACT_AFTER_SHARE * len(state.sealed), self._patience)

    def _compact_aside(self) -> None:
        faiss.omp_set_num_threads(1)  # of this thread: the other cores are left to the searches
        try:
            while self._is_due():
                self.compact()
        except Exception:
            self._patience = 2 * self._state.waiting
            logger.exception("Compaction failed; the index serves on, and tries again when twice as much has changed.")

    def save(self, directory: Path | str) -> None:
        """Write a new version of the index in a directory; from now on it lives there, and updates are logged there.

        Raises:
            VectorIndexError: another writer holds the directory.
        """
        with self._compacting:
            place, before = Path(directory).resolve(), self._home
            home = before if before is not None and before.directory == place else Home(place)
            held = home.claimed
            with self._writing:
                home.claim()
            try:
                part = home.prepare(self._state.sealed, self.kind, self.fingerprint, resealed=home is not before)
                with self._writing:
                    home.publish(part, map(updates.encode, self._state.pending()))
                    if before is not None and before is not home:
                        before.release()
                    self._home = home
            finally:
                if not held:
                    with self._writing:
                        home.release()

    def close(self) -> None:
        """Wait for a compaction under way and give back the right to write."""
        if self._compactor is not None:
            self._compactor.join()
        with self._writing:
            if self._home is not None:
                self._home.release()


def rollback(directory: Path | str) -> str:
    """Go back to the version before, as it stood when the present one took over; returns its name.

    Raises:
        VectorIndexError: no earlier version is kept, it is damaged, or a writer holds the directory.
    """
    home = Home(snapshot.current(Path(directory).resolve()).parent)
    home.claim()
    try:
        return snapshot.roll_back(home.directory).name
    finally:
        home.release()
