"""A filter in Milvus's own language. Rows have an ``id``, an array ``categories`` and a JSON object ``numbers``."""

import json
from collections.abc import Iterator

from index.filters import Filter, as_ids


def expression(condition: Filter | None) -> str:
    """The boolean expression a row must satisfy; empty where every row does.

    Example:
        >>> expression(Filter(deny=[7], any_of=["war"], ranges={"year": (1990, None)}))
        'id not in [7] and array_contains_any(categories, ["war"]) and numbers["year"] >= 1990.0'
    """
    return "" if condition is None else " and ".join(_terms(condition))


def _terms(condition: Filter) -> Iterator[str]:
    if condition.allow is not None:
        yield f"id in {as_ids(condition.allow).tolist()}"
    if len(condition.deny):
        yield f"id not in {as_ids(condition.deny).tolist()}"
    if condition.any_of:
        yield f"array_contains_any(categories, {_names(condition.any_of)})"
    if condition.all_of:
        yield f"array_contains_all(categories, {_names(condition.all_of)})"
    if condition.none_of:
        yield f"not array_contains_any(categories, {_names(condition.none_of)})"
    for name, (low, high) in condition.ranges.items():
        column = f"numbers[{json.dumps(name, ensure_ascii=False)}]"
        if low is None and high is None:
            yield f"exists {column}"
        if low is not None:
            yield f"{column} >= {float(low)!r}"
        if high is not None:
            yield f"{column} <= {float(high)!r}"


def _names(categories: object) -> str:
    return json.dumps(sorted(categories), ensure_ascii=False)  # type: ignore[call-overload]
