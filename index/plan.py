"""How queries under a filter are best answered: the way of least estimated cost."""

import math
from dataclasses import dataclass

from index.engine import Engine

_GATHER_NS = 0.9  # copy a number of an eligible row together
_SCORE_NS = 0.05  # multiply it, once for each query of the group
_SLACK = 64  # over-fetch by a little more than the share predicts


@dataclass(frozen=True)
class Plan:
    """A way to answer, and how many rows to ask for on it."""

    engine: Engine | None
    """None: copy the eligible rows together and score them all."""
    selects: bool
    """The engine skips what is not eligible; otherwise it is asked for more than k, and the answer is sifted."""
    fetch: int


def cheapest(engines: list[Engine], *, rows: int, dim: int, eligible: int, queries: int, batch: int, k: int) -> Plan:
    """The plan for ``queries`` of a ``batch``, which share a filter that leaves ``eligible`` of ``rows`` rows."""
    share = max(eligible, 1) / rows
    fetch = overfetch(rows=rows, eligible=eligible, k=k)
    costs = {Plan(None, selects=False, fetch=k): dim * eligible * (_GATHER_NS + _SCORE_NS * queries)}
    for engine in engines:
        if engine.takes_selector and k <= engine.most:
            costs[Plan(engine, selects=True, fetch=k)] = engine.cost_ns(batch, k, share) * queries / batch
        if fetch <= engine.most:
            costs[Plan(engine, selects=False, fetch=fetch)] = engine.cost_ns(batch, fetch) * queries / batch
    return min(costs, key=costs.__getitem__)


def overfetch(*, rows: int, eligible: int, k: int) -> int:
    """How many rows to ask for so that k eligible ones are most likely among them.

    Example:
        >>> overfetch(rows=1000, eligible=1000, k=10), overfetch(rows=1000, eligible=997, k=10)
        (10, 13)
    """
    likely = math.ceil(1.3 * k * (rows - eligible) / max(eligible, 1)) + _SLACK
    return min(k + min(rows - eligible, likely), rows)
