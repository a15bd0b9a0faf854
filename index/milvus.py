"""The index on a Milvus cluster, for when one machine's memory ends: the same interface, the same answers.

    index = MilvusIndex.build("http://proxy.cluster:19530", "items", vectors, ids, kind=HNSW(), token="user:password")
    index = MilvusIndex.connect("http://proxy.cluster:19530", "items", kind=HNSW(), token="user:password")

The address is that of the cluster's proxy or load balancer; a path that ends in ``.db`` starts milvus-lite in this
process, for tests. Rows are sharded and replicated as the cluster is configured. Each build fills a collection of its
own (``items_000003_…``) and, once it is indexed and loaded, moves the alias ``items`` there: readers change over at
once, and ``rollback`` moves the alias back.

B queries, n rows of a call, D vector width, K answer length.
"""

import time
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from index import door
from index.errors import VectorIndexError
from index.filters import Attributes, Filter, IdList, as_ids
from index.grouping import grouped
from index.kinds import HNSW, IVFFastScan, IVFFlat, Kind, candidates
from index.milvus_collections import as_row, built_as, connected, create, digest, refuse_pretended, stands, versions
from index.milvus_expression import expression
from index.neighbours import Ids, Neighbours, Vectors, best_of, merged, nobody, ties_by_id

VERSIONS_KEPT = 3

_MOST = 16_384  # of k, and of rows in one answer
_QUERIES_AT_ONCE = 1000
_ROWS_AT_ONCE = 4000
_STALE_S = 6.0  # the server's bound on what a "Bounded" read may miss is 5 s
_INDEX_TIMEOUT_S = 3600.0


class MilvusIndex:
    """Rows in a Milvus collection. Searches see what was written here at once, what others wrote within seconds."""

    def __init__(self, client: Any, name: str, kind: Kind, collection: str) -> None:
        """For ``build`` and ``connect``."""
        self.kind = kind
        self._client, self._name, self._collection = client, name, collection
        fields = client.describe_collection(collection)["fields"]
        self._dim = int(next(field for field in fields if field["name"] == "vector")["params"]["dim"])
        self._columns: set[str] = set()
        self._written_at = time.monotonic()

    @classmethod
    def build(
        cls,
        uri: str,
        name: str,
        vectors: npt.ArrayLike,  # (N, D)
        ids: npt.ArrayLike,  # (N,)
        *,
        kind: Kind,
        attributes: Attributes | None = None,
        fingerprint: str = "",
        token: str = "",
    ) -> Self:
        """Fill a new collection, wait until it is indexed, and let ``name`` stand for it.

        Raises:
            VectorIndexError: what ``VectorIndex.build`` refuses, or a kind the server does not serve.
        """
        rows = door.checked_rows(ids, vectors, attributes, dim=None, half=False)
        client = connected(uri, token)
        index_type, parameters = built_as(kind)
        refuse_pretended(client, kind, index_type)
        kept = versions(client, name)
        number = int(kept[-1].removeprefix(f"{name}_")[:6]) + 1 if kept else 1
        collection = f"{name}_{number:06d}_{digest(fingerprint)}"
        create(client, collection, rows[1].shape[1], index_type, parameters)
        index = cls(client, name, kind, collection)
        index._write(*rows)
        index._await_index()
        index._point_to(collection)
        for old in kept[: 1 - VERSIONS_KEPT]:
            client.drop_collection(old)
        return index

    @classmethod
    def connect(cls, uri: str, name: str, *, kind: Kind, fingerprint: str | None = None, token: str = "") -> Self:
        """The index that was built under a name. ``kind`` says how hard to search; it must be what was built.

        Raises:
            VectorIndexError: no such index, another kind, or another fingerprint than the one asked for.
        """
        client = connected(uri, token)
        if not stands(client, name):
            raise VectorIndexError(f"{uri}: no index {name!r}. Build it with MilvusIndex.build, or correct the name.")
        collection = client.describe_alias(name)["collection_name"]
        if fingerprint is not None and not collection.endswith(digest(fingerprint)):
            raise VectorIndexError(
                f"{uri}, {collection}: made for another bundle than {fingerprint!r}. Build the index again."
            )
        index = cls(client, name, kind, collection)
        if (served := index.served_as()) != built_as(kind)[0]:
            raise VectorIndexError(f"{uri}, {collection}: serves {served}, not {kind}. Ask for what was built.")
        return index

    def __len__(self) -> int:
        return self._count("")

    @property
    def dim(self) -> int:
        """D, the width of a vector."""
        return self._dim

    def served_as(self) -> str:
        """The index type the server itself reports. The latest rows may wait for it, and are scored one by one."""
        return str(self._client.describe_index(self._collection, "vector")["index_type"])

    def search(
        self,
        queries: npt.ArrayLike,  # (B, D)
        k: int,
        *,
        filters: Filter | Sequence[Filter | None] | None = None,
    ) -> Neighbours:  # (B, K) each
        """The k rows of the highest inner product for each query, among those its filter lets through.

        Queries that share a filter are one request. Whatever the kind, k rows are found where k are eligible.

        Raises:
            VectorIndexError: what ``VectorIndex.search`` refuses, or k above 16,384.
        """
        checked, asked = door.checked_vectors(queries, self.dim, "queries"), door.checked_k(k)
        if asked > _MOST:
            raise VectorIndexError(f"k is {asked}: Milvus answers {_MOST} at most. Ask for fewer.")
        each = door.checked_filters(filters or [None] * len(checked), len(checked), self._columns_of(filters))
        found = nobody(len(checked), asked)
        for condition, members in grouped(each):
            for start in range(0, len(members), _QUERIES_AT_ONCE):
                part = members[start : start + _QUERIES_AT_ONCE]
                found.ids[part], found.scores[part] = self._search(checked[part], asked, expression(condition))
        return ties_by_id(found)

    def _search(self, queries: Vectors, k: int, where: str) -> Neighbours:
        found = self._ask(queries, k, where, self._effort(k))
        short = np.flatnonzero(found.ids[:, -1] < 0)
        wanted = min(k, self._count(where)) if len(short) else 0
        # A filter can thin out the clusters or the graph: search all of it, and at the very last score every row.
        short = short[(found.ids[short] >= 0).sum(axis=1) < wanted]
        if len(short):
            found.ids[short], found.scores[short] = self._ask(queries[short], k, where, self._effort(_MOST))
        short = short[(found.ids[short] >= 0).sum(axis=1) < wanted]
        if len(short):
            found.ids[short], found.scores[short] = self._score_all(queries[short], k, where)
        return found

    def _ask(self, queries: Vectors, k: int, where: str, effort: dict[str, int]) -> Neighbours:
        answers = self._client.search(
            self._collection,
            queries,
            filter=where,
            limit=k,
            search_params={"metric_type": "IP", "params": effort},
            consistency_level=self._consistency(),
        )
        found = nobody(len(queries), k)
        for row, hits in enumerate(answers):
            found.ids[row, : len(hits)] = [hit["id"] for hit in hits]
            found.scores[row, : len(hits)] = [hit["distance"] for hit in hits]
        return found

    def _effort(self, k: int) -> dict[str, int]:
        """The search parameters for k rows; for the most rows there can be, all the index has."""
        match self.kind:
            case IVFFlat(nlist=nlist, nprobe=nprobe):
                return {"nprobe": nlist if k == _MOST else nprobe}
            case IVFFastScan(nlist=nlist, nprobe=nprobe, k_factor=k_factor):
                return {"nprobe": nlist if k == _MOST else nprobe, "reorder_k": min(_MOST, candidates(k, k_factor))}
            case HNSW(ef_search=ef_search):
                return {"ef": max(k, ef_search)}
            case _:
                return {}

    def _score_all(self, queries: Vectors, k: int, where: str) -> Neighbours:
        best = nobody(len(queries), k)
        iterator = self._client.query_iterator(
            self._collection,
            batch_size=_ROWS_AT_ONCE,
            filter=where,
            output_fields=["id", "vector"],
            consistency_level=self._consistency(),
        )
        while page := iterator.next():
            rows = np.array([row["vector"] for row in page], dtype=np.float32)
            scored = best_of(queries @ rows.T, np.array([row["id"] for row in page]), k)
            best = merged([best, scored], k)
        iterator.close()
        return best

    def vectors_of(self, ids: IdList) -> Vectors:  # (n, D)
        """The vectors of some ids.

        Raises:
            VectorIndexError: an id that is not in the index.
        """
        wanted = as_ids(ids).tolist()
        rows = self._client.get(
            self._collection, ids=wanted, output_fields=["vector"], consistency_level=self._consistency()
        )
        known = {row["id"]: row["vector"] for row in rows}
        if missing := [row_id for row_id in wanted if row_id not in known]:
            raise VectorIndexError(f"ids {missing[:5]}: not in the index. Upsert them first, or ask for others.")
        return np.array([known[row_id] for row_id in wanted], dtype=np.float32).reshape(-1, self.dim)

    def upsert(
        self,
        ids: npt.ArrayLike,  # (n,)
        vectors: npt.ArrayLike,  # (n, D)
        attributes: Attributes | None = None,
    ) -> None:
        """Add rows, or replace those whose id is there; the next search here sees them.

        Raises:
            VectorIndexError: what ``VectorIndex.upsert`` refuses, or categories too many or too long for a row.
        """
        self._write(*door.checked_rows(ids, vectors, attributes, dim=self.dim, half=False))

    def _write(self, ids: Ids, vectors: Vectors, attributes: Attributes) -> None:
        for start in range(0, len(ids), _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, len(ids)))
            self._client.upsert(self._collection, [as_row(row, ids, vectors, attributes) for row in rows])
        self._columns.update(attributes.numbers if len(ids) else ())
        self._written_at = time.monotonic()

    def delete(self, ids: npt.ArrayLike) -> None:  # (n,)
        """Remove rows; ids that are not there are passed over.

        Raises:
            VectorIndexError: negative ids.
        """
        gone = door.checked_ids(ids).tolist()
        if gone:
            self._client.delete(self._collection, ids=gone)
            self._written_at = time.monotonic()

    def rollback(self) -> str:
        """Let the name stand for the build before; returns its collection.

        Raises:
            VectorIndexError: none is kept.
        """
        kept = versions(self._client, self._name)
        earlier = kept[: kept.index(self._collection)]
        if not earlier:
            raise VectorIndexError(f"{self._collection} is the oldest that is kept; nothing to go back to.")
        self._point_to(earlier[-1])
        return earlier[-1]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _point_to(self, collection: str) -> None:
        change = self._client.alter_alias if stands(self._client, self._name) else self._client.create_alias
        change(collection, self._name)
        self._collection = collection

    def _await_index(self) -> None:
        self._client.flush(self._collection)
        deadline = time.monotonic() + _INDEX_TIMEOUT_S
        while self._client.describe_index(self._collection, "vector")["pending_index_rows"]:
            if time.monotonic() > deadline:
                raise VectorIndexError(
                    f"{self._collection}: not indexed within {_INDEX_TIMEOUT_S:.0f} s. See the server."
                )
            time.sleep(0.1)
        # Loaded anew, the rows are served from the index and no longer from the buffer they came in by.
        self._client.release_collection(self._collection)
        self._client.load_collection(self._collection)

    def _consistency(self) -> str:
        return "Strong" if time.monotonic() - self._written_at < _STALE_S else "Bounded"

    def _count(self, where: str) -> int:
        counted = self._client.query(
            self._collection, filter=where, output_fields=["count(*)"], consistency_level=self._consistency()
        )
        return int(counted[0]["count(*)"])

    def _columns_of(self, filters: Filter | Sequence[Filter | None] | None) -> set[str]:
        """The numeric columns known here, after a look for those that a filter names for the first time."""
        each = [filters] if isinstance(filters, Filter) else filters or ()
        for name in {name for condition in each if condition for name in condition.ranges} - self._columns:
            if self._count(expression(Filter(ranges={name: (None, None)}))):
                self._columns.add(name)
        return self._columns
