"""An answer of each kind, for the API's description. They are the models themselves, so none can be wrong in form."""

from pydantic import BaseModel

from recsys.interest_classifier import ExpectedInterest
from recsys.interests import InterestState, UserInterests
from recsys.strata import Stratum
from recsys.text_interests import TextInterest
from serving.admin_schemas import SwapAnswer, VariantName
from serving.event_schemas import EventsAnswer, UserDeleted
from serving.interest_routes import InterestsAnswer, TextAnswer
from serving.item_schemas import ItemAnswer, ItemRemoved
from serving.schemas import (
    Carrier,
    ModelDescription,
    Reasons,
    RecommendAnswer,
    RecommendBatchAnswer,
    RecommendedItem,
    SimilarAnswer,
    SimilarItem,
    Status,
)

_MODEL = "9b7c2f4e51aa"
_RANKING = RecommendAnswer(
    items=[
        RecommendedItem(
            item_id="316",
            title="As Good As It Gets",
            score=-2.41,
            probability=0.21,
            intents={"view": 0.12, "buy": 0.09},
            reasons=Reasons(
                cosine=0.82,
                carried=[Carrier(item_id="242", title="Kolya", weight=0.38)],
                parts={"towers": 0.9, "habits": 0.4, "intent": 0.3},
                followed=[Carrier(item_id="242", title="Kolya", weight=0.64)],
                alike=[Carrier(item_id="242", title="Kolya", weight=0.71)],
            ),
        ),
        RecommendedItem(
            item_id="272",
            title="Good Will Hunting",
            score=-2.81,
            probability=0.16,
            intents={"view": 0.1, "buy": 0.06},
        ),
    ],
    path="personal",
    model=_MODEL,
    requested_at=893_286_638,
    warnings=["k: 2 items instead of 10, all that the filters let through and the user has not seen."],
    timings_ms={"history": 0.2, "encode": 0.6, "search": 0.1, "rank": 0.1, "items": 0.1, "total": 1.1},
)
EXAMPLES: tuple[BaseModel, ...] = (
    _RANKING,
    RecommendBatchAnswer(answers=[_RANKING]),
    SimilarAnswer(
        item_id="242",
        title="Kolya",
        items=[SimilarItem(item_id="316", title="As Good As It Gets", cosine=0.71)],
        model=_MODEL,
    ),
    ModelDescription(
        fingerprint=_MODEL,
        items=1_682,
        users=943,
        interactions=98_114,
        event_names=["view", "buy"],
        intents=["view", "buy"],
        has_clock=True,
        index={"name": "Exact", "half": False, "items": 1_682},
        config={"width": 128},
        protocol={"split": "temporal"},
        versions={"python": "3.11.7"},
        metrics={"two_tower+prior": {"ndcg@10": {"value": 0.137, "low": 0.122, "high": 0.153}}},
    ),
    Status(),
    EventsAnswer(received=2, new=1, warnings=["item_id: the catalogue does not hold '7'; kept for when it does."]),
    UserDeleted(events_removed=12),
    ItemAnswer(item_id="heat-2", was="new", model=_MODEL, warnings=[]),
    ItemRemoved(item_id="heat-2", model=_MODEL),
    InterestsAnswer(
        interests=UserInterests(
            user_id="196",
            events=39,
            newest_at=893_286_638,
            drift_score=2.4,
            drift_p_value=0.01,
            strata=[
                InterestState(
                    name="Comedy",
                    stratum=Stratum.RISING,
                    share=0.41,
                    low=0.29,
                    high=0.53,
                    share_before=0.22,
                    rising=0.98,
                    events=14.5,
                    newest_at=893_286_638,
                    events_ago=0,
                )
            ],
            horizon="7 days",
            expected=[ExpectedInterest(name="Comedy", probability=0.63, expected=True)],
        ),
        requested_at=893_286_638,
        model=_MODEL,
    ),
    TextAnswer(interests=[TextInterest(name="Sci-Fi", probability=0.91, about=True)], model=_MODEL),
    SwapAnswer(variant=VariantName.MAIN, model=_MODEL, before="1c0d55e8f3b2", items=1_682),
)
METERS = """\
# HELP recsys_requests_total Requests answered.
# TYPE recsys_requests_total counter
recsys_requests_total{method="POST",route="/v1/recommend",status="200"} 118.0
"""
