"""What can happen to an index after it is sealed, and how it is written down.

n rows, D vector width.
"""

import json
from dataclasses import dataclass, field

import numpy as np

from index.filters import Attributes
from index.neighbours import Ids, Vectors


@dataclass(frozen=True, eq=False)
class Upsert:
    """Rows that come, or take the place of those with the same id."""

    ids: Ids
    """(n,)"""
    vectors: Vectors
    """(n, D)"""
    attributes: Attributes = field(default_factory=Attributes)


@dataclass(frozen=True, eq=False)
class Delete:
    """Ids that go."""

    ids: Ids
    """(n,)"""


Update = Upsert | Delete


def encode(update: Update) -> bytes:
    """An update as bytes: a line of JSON, then the arrays it describes."""
    match update:
        case Delete(ids):
            return _line({"delete": len(ids)}) + ids.tobytes()
        case Upsert(ids, vectors, attributes):
            columns = {name: np.asarray(column, dtype=np.float64) for name, column in attributes.numbers.items()}
            head = {
                "upsert": len(ids),
                "dim": vectors.shape[1],
                "categories": [list(categories) for categories in attributes.categories],
                "columns": list(columns),
            }
            body = b"".join(column.tobytes() for column in columns.values())
            return _line(head) + ids.tobytes() + vectors.tobytes() + body


def decode(payload: bytes) -> Update:
    """The update that ``encode`` wrote."""
    line, _, body = payload.partition(b"\n")
    head = json.loads(line)
    if "delete" in head:
        return Delete(np.frombuffer(body, dtype=np.int64))
    rows, dim = head["upsert"], head["dim"]
    ids, body = np.frombuffer(body, dtype=np.int64, count=rows), body[8 * rows :]
    vectors, body = np.frombuffer(body, dtype=np.float32, count=rows * dim), body[4 * rows * dim :]
    columns = np.frombuffer(body, dtype=np.float64).reshape(len(head["columns"]), rows)
    attributes = Attributes(head["categories"], dict(zip(head["columns"], columns, strict=True)))
    return Upsert(ids, vectors.reshape(rows, dim), attributes)


def _line(head: dict[str, object]) -> bytes:
    return json.dumps(head).encode() + b"\n"
