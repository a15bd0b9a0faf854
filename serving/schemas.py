"""What goes in and what comes out: the requests and answers of the service, whichever door they take.

A text in a docstring under a field is also its description on /docs.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

MAX_K = 1_000
MAX_HISTORY = 10_000
MAX_VALUE = 3.4e38
"""About the largest float32, which is what a value is kept as."""
YEAR_10000 = 253_402_300_800
"""Unix seconds. No calendar date reaches it, but every time since 1978 does when milliseconds are read as seconds."""


def _in_seconds(instant: int) -> int:
    if instant >= YEAR_10000:
        raise PydanticCustomError(
            "not_seconds", "Past the year 9999 in seconds, so it looks like milliseconds: divide it by 1000"
        )
    return instant


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


Name = Annotated[str, Field(min_length=1, max_length=1_000)]
Instant = Annotated[int, Field(ge=0), AfterValidator(_in_seconds)]


class HistoryEvent(_Request):
    """Something the user did that is not stored yet."""

    item_id: Name
    """What it was done with."""
    occurred_at: Instant | None = None
    """Unix seconds, UTC; left out, it happened at the instant of the request."""
    event: str | None = None
    """What was done: view, buy, …; left out, what is done most often."""
    value: float | None = Field(None, allow_inf_nan=False, ge=-MAX_VALUE, le=MAX_VALUE)
    """A rating, an amount, …"""


class RecommendRequest(_Request):
    """Who asks, for when, and for how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "196", "k": 10},
                {"history": [{"item_id": "242"}, {"item_id": "302", "event": "view"}], "k": 5, "explain": True},
                {"user_id": "196", "requested_at": 881_250_949, "exclude_seen": False},
            ]
        }
    )

    user_id: Name | None = None
    """Whose stored history to read. Nobody need know it: then the history of the request counts alone."""
    history: Annotated[list[HistoryEvent], Field(max_length=MAX_HISTORY)] = []
    """What the user did since, in any order; it comes after what is stored."""
    k: int = Field(10, ge=1, le=MAX_K)
    """How many items."""
    requested_at: Instant | None = None
    """Unix seconds, UTC: recommend as of then, knowing nothing later. Left out, it is now."""
    exclude_seen: bool = True
    """Leave out what the history holds."""
    explain: bool = False
    """Say of each item what brought it here."""


class Carrier(_Answer):
    """An item of the history that speaks for a recommended one."""

    item_id: str
    title: str
    weight: float
    """For what followed: its share of all that followed, all carriers together 1. For what is alike: the cosine."""


class Reasons(_Answer):
    """What brought an item into the answer."""

    cosine: float | None = None
    """How well the towers think it fits the user, in [-1, 1]."""
    prior: float | None = None
    """What the transition prior adds to the score; absent where it was not asked."""
    followed: list[Carrier] = []
    """Items of the history that this one often comes after, the strongest first."""
    alike: list[Carrier] = []
    """The item of the history it is most like."""


class RecommendedItem(_Answer):
    """One item of a ranking."""

    item_id: str
    title: str
    score: float
    """What the ranking is sorted by; comparable within one answer only."""
    reasons: Reasons | None = None
    """Only where they were asked for."""


class RecommendAnswer(_Answer):
    """A ranking, and how it came about."""

    items: list[RecommendedItem]
    """Best first, without repeats."""
    path: Literal["personal", "history", "popular"]
    """From what: the user's stored history (and the request's), the request's alone, or what is popular now."""
    model: str
    """The fingerprint of the bundle that answered."""
    variant: Literal["main", "trial"] | None = None
    """While a second bundle is under trial, which of the two answered."""
    requested_at: int
    """Unix seconds, UTC: the instant the answer is for."""
    warnings: list[str]
    """What of the request could not be used, and why."""
    timings_ms: dict[str, float]
    """How long each stage took, each without the others, and the total, for all requests answered together with this
    one. `encode` is the user tower, `rank` the prior."""


class SimilarItem(_Answer):
    """An item near another."""

    item_id: str
    title: str
    cosine: float


class SimilarAnswer(_Answer):
    """The items nearest to one, by vector."""

    item_id: str
    title: str
    items: list[SimilarItem]
    """Nearest first, the item itself left out."""
    model: str
    """The fingerprint of the bundle that answered."""


class ModelDescription(_Answer):
    """What is being served."""

    model_config = ConfigDict(protected_namespaces=())

    fingerprint: str
    """Of everything in the bundle that decides an answer."""
    items: int
    users: int
    """With a stored history."""
    interactions: int
    event_names: list[str]
    """The kinds of event this bundle tells apart."""
    has_clock: bool
    """Whether its interactions have an instant; without one, requests are read in order alone."""
    index: dict[str, Any]
    """The kind of index, its knobs, and how many items it holds."""
    config: dict[str, Any]
    """How the bundle was trained."""
    protocol: dict[str, Any]
    """What was held out of the training."""
    versions: dict[str, str]
    """Of Python and the libraries that wrote the bundle."""
    metrics: dict[str, Any] | None = None
    """Recommender → its main figures with their 95 % intervals; absent where the bundle was not evaluated."""


class Status(_Answer):
    """A yes; a no is a problem."""

    status: Literal["ok"] = "ok"
