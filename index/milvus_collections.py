"""The collections an index on Milvus is kept in: how they are named, laid out and reached.

A collection is named after its index, a number that grows with each build, and a digest of the bundle's fingerprint:
``items_000003_ba7816bf8f01``. The alias ``items`` stands for the one that counts.
"""

import hashlib
from typing import Any

import numpy as np

from index.errors import VectorIndexError
from index.filters import Attributes
from index.kinds import HNSW, Exact, IVFFastScan, IVFFlat, Kind
from index.neighbours import Ids, Vectors

_LONGEST_CATEGORY = 512
_MOST_CATEGORIES = 256


def connected(uri: str, token: str) -> Any:
    """A client of the server at an address.

    Raises:
        VectorIndexError: pymilvus is not installed, or nobody answers.
    """
    try:
        from pymilvus import MilvusClient
        from pymilvus.exceptions import MilvusException
    except ImportError as cause:
        raise VectorIndexError(f"{uri}: needs pymilvus. Install the extra milvus.") from cause
    try:
        return MilvusClient(uri, token=token)
    except MilvusException as cause:
        raise VectorIndexError(
            f"{uri}: no Milvus answers ({cause.message}). Check the address and the token."
        ) from cause


def built_as(kind: Kind) -> tuple[str, dict[str, Any]]:
    """What Milvus calls a kind, and what it is built with.

    Raises:
        VectorIndexError: a kind Milvus does not have.
    """
    match kind:
        case Exact(half=False):
            return "FLAT", {}
        case IVFFlat(nlist=nlist, half=False):
            return "IVF_FLAT", {"nlist": nlist}
        case IVFFastScan(nlist=nlist, half=False):
            return "SCANN", {"nlist": nlist}
        case HNSW(neighbours=neighbours, ef_construction=ef_construction, half=False):
            return "HNSW", {"M": neighbours, "efConstruction": ef_construction}
    raise VectorIndexError(f"{kind} is not offered on Milvus. Choose Exact, IVFFlat, IVFFastScan or HNSW, not half.")


def refuse_pretended(client: Any, kind: Kind, index_type: str) -> None:
    """Check that the server really has an index type: milvus-lite takes any, and serves some by brute force in silence.

    Raises:
        VectorIndexError: it would only pretend.
    """
    if client.get_server_version().startswith("milvus_lite") and index_type == "SCANN":
        raise VectorIndexError(
            f"{kind}: milvus-lite would serve it by brute force. Use a Milvus server, or another kind."
        )


def create(client: Any, collection: str, dim: int, index_type: str, parameters: dict[str, Any]) -> None:
    """An empty collection, indexed and loaded as rows come in."""
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    schema.add_field(
        "categories",
        DataType.ARRAY,
        element_type=DataType.VARCHAR,
        max_capacity=_MOST_CATEGORIES,
        max_length=_LONGEST_CATEGORY,
    )
    schema.add_field("numbers", DataType.JSON)
    index = client.prepare_index_params()
    index.add_index("vector", index_type=index_type, metric_type="IP", params=parameters)
    client.create_collection(collection, schema=schema, index_params=index)


def as_row(row: int, ids: Ids, vectors: Vectors, attributes: Attributes) -> dict[str, Any]:
    """A row as Milvus takes it.

    Raises:
        VectorIndexError: categories too many or too long.
    """
    categories = list(attributes.categories[row]) if attributes.categories else []
    if len(categories) > _MOST_CATEGORIES or any(len(name.encode()) > _LONGEST_CATEGORY for name in categories):
        raise VectorIndexError(
            f"attributes, row {row}: over {_MOST_CATEGORIES} categories, or one of over {_LONGEST_CATEGORY} bytes. "
            "Milvus keeps no more: leave some out or shorten them."
        )
    numbers = {name: float(column[row]) for name, column in attributes.numbers.items() if not np.isnan(column[row])}
    return {"id": int(ids[row]), "vector": vectors[row], "categories": categories, "numbers": numbers}


def versions(client: Any, name: str) -> list[str]:
    """The collections built under a name, oldest first."""
    stem = f"{name}_"
    return sorted(c for c in client.list_collections() if c.startswith(stem) and c.removeprefix(stem)[:6].isdigit())


def stands(client: Any, name: str) -> bool:
    """Whether a name stands for one of its collections."""
    return any(name in client.list_aliases(collection)["aliases"] for collection in versions(client, name))


def digest(fingerprint: str) -> str:
    """A fingerprint short enough for a name."""
    return hashlib.sha256(fingerprint.encode()).hexdigest()[:12]
