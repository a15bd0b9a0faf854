"""The kinds of index on offer: what is stored and how it is searched. A kind is data; it is chosen by measurement."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exact:
    """Every vector is scored. The right kind below some hundred thousand rows, and the judge of all others."""

    half: bool = False
    """Keep float16: half the memory, scores of the rounded vectors."""


Kind = Exact

EXACT = Exact()
