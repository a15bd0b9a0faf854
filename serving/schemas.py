"""What goes in and what comes out: the requests and answers of the service, whichever door they take.

A text in a docstring under a field is also its description on /docs.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from serving.fields import (
    AnswerModel,
    Instant,
    ItemFields,
    Latitude,
    Longitude,
    Name,
    Place,
    RequestModel,
    Value,
    Whole,
    whole_place,
)
from serving.wishes import Diversity, DiversityPrice, Filters

MAX_K = 1_000
MAX_HISTORY = 10_000
MAX_BATCH = 256
MAX_TOLD = 50


class HistoryEvent(RequestModel):
    """Something the user did that is not stored yet."""

    item_id: Name
    """What it was done with."""
    occurred_at: Instant | None = None
    """Unix seconds, UTC; left out, it happened at the instant of the request."""
    event: str | None = None
    """What was done: view, buy, …; left out, what is done most often."""
    value: Value | None = None
    """A rating, an amount, …"""
    lat: Latitude | None = None
    """Degrees north of where it happened; it needs `lon` too."""
    lon: Longitude | None = None
    """Degrees east."""
    item: ItemFields | None = None
    """What the item is, for one the catalogue may not hold: then it is read as a cold item, for this request alone."""

    _place = model_validator(mode="after")(whole_place)


class RecommendRequest(RequestModel):
    """Who asks, for when, and for how many."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"user_id": "196", "k": 10},
                {"history": [{"item_id": "242"}, {"item_id": "302", "event": "view"}], "k": 5, "explain": True},
                {"user_id": "196", "requested_at": 881_250_949, "exclude_seen": False},
                {"user_id": "196", "intent": "buy", "exclude_seen": ["buy"]},
                {
                    "history": [{"item_id": "unheard-of", "item": {"title": "Heat 2", "categories": ["Crime"]}}],
                    "filters": {"any_of": ["Crime"]},
                    "diversity": {"strength": 0.3},
                },
            ]
        }
    )

    user_id: Name | None = None
    """Whose stored history to read. Nobody need know it: then the history of the request counts alone."""
    history: list[HistoryEvent] = Field([], max_length=MAX_HISTORY)
    """What the user did since, in any order; it comes after what is stored. At most 50 events bring an `item`."""
    k: Whole = Field(10, ge=1, le=MAX_K)
    """How many items."""
    requested_at: Instant | None = None
    """Unix seconds, UTC: recommend as of then, knowing nothing later. Left out, it is now."""
    place: Place | None = None
    """Where the user is, for bundles that read places."""
    exclude_seen: bool | Annotated[list[Name], Field(max_length=100)] = True
    """Leave out what the history holds, or only that with which one of these events happened: `["buy"]` leaves out what
    was bought, and lets what was only viewed come again."""
    filters: Filters | None = None
    """Which items may be in the answer."""
    diversity: Diversity | None = None
    """How unlike each other they should be."""
    intent: Name | None = None
    """What the user should do with the items, `buy` perhaps: they are ordered by how likely that is, instead of how
    likely the user turns to them at all. `intents` of /v1/model names those the bundle knows."""
    explain: bool = False
    """Say of each item what brought it here."""

    @model_validator(mode="after")
    def _few_are_told(self) -> Self:
        if sum(event.item is not None for event in self.history) > MAX_TOLD:
            raise PydanticCustomError("too_many_told", f"At most {MAX_TOLD} events of a history may bring an item")
        return self


class RecommendBatch(RequestModel):
    """Several requests at once, answered together."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"requests": [{"user_id": "196", "k": 5}, {"history": [{"item_id": "242"}]}]}]}
    )

    requests: list[RecommendRequest] = Field(min_length=1, max_length=MAX_BATCH)
    """Each as for one user alone."""


class Carrier(AnswerModel):
    """An item of the history that speaks for a recommended one."""

    item_id: str
    """Which item."""
    title: str
    """What a person calls it; empty where nobody said."""
    weight: float
    """For what carried: by how much the score would fall without it. For what followed: its share of all that followed,
    all carriers together 1. For what is alike: the cosine."""


class Reasons(AnswerModel):
    """What brought an item into the answer."""

    cosine: float | None = None
    """How well the towers think it fits the user, in [-1, 1]."""
    prior: float | None = None
    """What the transition prior adds to the score; absent where it was not asked."""
    carried: list[Carrier] = Field([])
    """Events of the history without which the score would be lower, the heaviest first. Each was tried."""
    interests: list[str] = Field([])
    """What the item is of and the history is of as well, what the history has most of first."""
    parts: dict[str, float] = Field({})
    """What each kind of evidence adds to the score of a common candidate, where the bundle has a reranker; `intent` is
    the logarithm of how much likelier what was asked for is with this item than with any."""
    followed: list[Carrier] = Field([])
    """Items of the history that this one often comes after, the strongest first."""
    alike: list[Carrier] = Field([])
    """The item of the history it is most like."""


class RecommendedItem(AnswerModel):
    """One item of a ranking."""

    item_id: str
    """Which item."""
    title: str
    """What a person calls it; empty where nobody said."""
    score: float
    """What the ranking is sorted by; comparable within one answer only. With an intent it is the logarithm of how
    likely that is, for as many items as are reranked."""
    probability: float | None = None
    """How likely it is what the user turns to next, as far as what may be recommended holds it; where the bundle has a
    reranker, for as many items as that reranks. Calibrated on held-out cases."""
    intents: dict[str, float] | None = None
    """Event type → how likely the user does that with it now; their sum is at most `probability`. Where the bundle
    tells event types apart."""
    reasons: Reasons | None = None
    """Only where they were asked for."""


class RecommendAnswer(AnswerModel):
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
    diversity: DiversityPrice | None = None
    """What diversity cost; only where it was asked for."""
    warnings: list[str]
    """What of the request could not be used, and why."""
    timings_ms: dict[str, float]
    """How long each stage took, each without the others, and the total, for all requests answered together with this
    one. `encode` is the user towers, `rank` the prior or the reranker."""


class RecommendBatchAnswer(AnswerModel):
    """The answers to a batch."""

    answers: list[RecommendAnswer]
    """In the order of the requests."""


class SimilarItem(AnswerModel):
    """An item near another."""

    item_id: str
    """Which item."""
    title: str
    """What a person calls it; empty where nobody said."""
    cosine: float
    """Of the two items' vectors, in [-1, 1]."""


class SimilarAnswer(AnswerModel):
    """The items nearest to one, by vector."""

    item_id: str
    """Which item was asked about."""
    title: str
    """What a person calls it; empty where nobody said."""
    items: list[SimilarItem]
    """Nearest first, the item itself left out."""
    model: str
    """The fingerprint of the bundle that answered."""


class ModelDescription(AnswerModel):
    """What is being served."""

    model_config = ConfigDict(protected_namespaces=())

    fingerprint: str
    """Of everything in the bundle that decides an answer."""
    items: int
    """In the bundle's catalogue."""
    users: int
    """Whose history the bundle holds."""
    interactions: int
    """Of those users."""
    event_names: list[str]
    """The kinds of event in its interactions."""
    intents: list[str]
    """Those that a request may ask for; empty where nothing tells them apart."""
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


class Status(AnswerModel):
    """A yes; a no is a problem."""

    status: Literal["ok"] = "ok"
    """Always this."""
