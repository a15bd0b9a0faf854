"""Queries that share an object, a filter or what it lets through, answered together."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Shared = TypeVar("Shared")


def grouped(each: Sequence[Shared]) -> Iterator[tuple[Shared, npt.NDArray[np.int64]]]:
    """The distinct objects of a list, each with the places it stands at. Equal objects are not the same object.

    Example:
        >>> a, b = [1], [1]
        >>> [places.tolist() for _, places in grouped([a, b, a])]
        [[0, 2], [1]]
    """
    places: dict[int, list[int]] = {}
    for place, shared in enumerate(each):
        places.setdefault(id(shared), []).append(place)
    for members in places.values():
        yield each[members[0]], np.array(members)
