"""How queries under a filter are best answered: the way of least estimated cost."""

import math
from dataclasses import dataclass

from index.engine import Engine

WORTH_BEING_EXACT = 5.0
"""What an exact answer under a filter may cost, in units of the cheapest approximate one.

Where a filter leaves up to a tenth of the rows, exact is also quickest, or nearly (100,000 × 128, one core, one query:
0.8 ms, where IVFFastScan takes 1.1 and FastScan 4.6). Where it leaves half or more, as a user's seen items do, exact
takes 5 to 6 ms and IVFFastScan 0.5 to 0.8: there a kind searches as much wider as its rows are fewer, and so keeps its
recall.
"""

_SLACK = 64  # over-fetch by a little more than the share predicts


@dataclass(frozen=True)
class Plan:
    """A way to answer, and how many rows to ask for on it."""

    engine: Engine | None
    """None: score the eligible rows, and no others."""
    selects: bool
    """The engine skips what is not eligible; otherwise it is asked for more than k, and the answer is sifted."""
    fetch: int


def cheapest(
    engines: list[Engine],
    *,
    rows: int,
    eligible: int,
    queries: int,
    batch: int,
    k: int,
    among_ns: float,
    worth: float,
) -> Plan:
    """The plan for ``queries`` of a ``batch``, which share a filter that leaves ``eligible`` of ``rows`` rows.

    Scoring just the eligible rows takes ``among_ns``; an exact way may cost ``worth`` times an approximate one.
    """
    share = max(eligible, 1) / rows
    fetch = overfetch(rows=rows, eligible=eligible, k=k)
    costs = {Plan(None, selects=False, fetch=k): among_ns}
    for engine in engines:
        part = queries / batch * (1.0 if engine.exact else worth)
        if engine.takes_selector and k <= engine.most:
            costs[Plan(engine, selects=True, fetch=k)] = engine.cost_ns(batch, k, share, selects=True) * part
        if fetch <= engine.most:
            costs[Plan(engine, selects=False, fetch=fetch)] = engine.cost_ns(batch, fetch, share) * part
    return min(costs, key=costs.__getitem__)


def overfetch(*, rows: int, eligible: int, k: int) -> int:
    """How many rows to ask for so that k eligible ones are most likely among them.

    Example:
        >>> overfetch(rows=1000, eligible=1000, k=10), overfetch(rows=1000, eligible=997, k=10)
        (10, 13)
    """
    likely = math.ceil(1.3 * k * (rows - eligible) / max(eligible, 1)) + _SLACK
    return min(k + min(rows - eligible, likely), rows)
