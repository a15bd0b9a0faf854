"""The doors to what users are interested in, and to what a text is about."""

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import Annotated
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, HTTPException, Path, Query

from recsys.bundle import Bundle
from recsys.errors import InputError
from recsys.interest_classifier import ExpectedInterest
from recsys.interests import InterestReader, UnknownUserError, UserInterests
from recsys.text_interests import TextInterest
from serving.doors import Owner
from serving.fields import AnswerModel, Instant, Name
from serving.interest_schemas import TextBody
from serving.problems import may_fail
from serving.question import read_question
from serving.schemas import RecommendRequest
from serving.service import Service

user_interests = APIRouter(prefix="/v1", tags=["users"])

_readers: WeakKeyDictionary[Bundle, InterestReader] = WeakKeyDictionary()
"""One per bundle that is served: what all its users are interested in is counted once."""


class InterestsAnswer(AnswerModel):
    """What a user is interested in, how it moved, and when it changed."""

    interests: UserInterests
    """As of that instant."""
    requested_at: int
    """Unix seconds, UTC: nothing later was read."""
    model: str
    """The fingerprint of the bundle that answered."""


class TextAnswer(AnswerModel):
    """Which interests a text is about."""

    interests: list[TextInterest]
    """Every interest, the likeliest first."""
    model: str
    """The fingerprint of the bundle that answered."""


@user_interests.post(
    "/interests/classify",
    responses=may_fail(
        HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE
    ),
)
async def classify(body: TextBody, owner: Owner) -> TextAnswer:
    """Which interests a text is about, by a classifier that has learnt from the texts of the items.

    A bundle has one once `recsys interests train-text` has run; until then this is a conflict.
    """
    service = owner.service()
    classifier, reader = service.text_interests, service.interest_reader
    if classifier is None or reader is None:
        raise HTTPException(
            HTTPStatus.CONFLICT,
            "The bundle has no text classifier. Run recsys interests train-text --bundle DIR, and let the service load "
            "the bundle again.",
        )
    vectors = await asyncio.to_thread(reader, [body.text])  # slow: neither the loop nor the model waits for it
    try:
        found = classifier.ranked(vectors, encoder=reader.fingerprint)
    except InputError as other:
        raise HTTPException(HTTPStatus.CONFLICT, str(other)) from None
    return TextAnswer(interests=found, model=service.bundle.fingerprint)


@user_interests.get(
    "/users/{user_id:name}/interests",
    response_model_exclude_none=True,
    responses=may_fail(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def interests(
    user_id: Annotated[Name, Path(description="Whose interests.", examples=["196"])],
    owner: Owner,
    requested_at: Annotated[
        Instant | None, Query(description="Unix seconds, UTC; left out, it is now.", examples=[893_286_638])
    ] = None,
) -> InterestsAnswer:
    """The interests of a user: core, rising, fading, dormant or exploring, and every change, from what to what.

    Where the bundle has an interest classifier, also what the user is expected to turn to next. It reads what the
    bundle holds of the user and what was stored since, as a recommendation would.
    """
    instant = int(time.time()) if requested_at is None else requested_at
    known = await owner.run(partial(_known, user_id=user_id, requested_at=instant))
    # Shuffling takes some time for a long history, and needs neither the model nor the index.
    found = await asyncio.to_thread(known.reader.read, user_id, known.mass, known.occurred_at)
    found = replace(found, horizon=known.horizon, expected=known.expected)
    return InterestsAnswer(interests=found, requested_at=instant, model=known.model)


@dataclass(frozen=True, eq=False)
class _Known:
    """What one pass through the service's thread brings back of a user."""

    reader: InterestReader
    mass: npt.NDArray[np.float32]
    """(H, C)"""
    occurred_at: npt.NDArray[np.int64] | None
    """(H,)"""
    horizon: str | None
    expected: list[ExpectedInterest] | None
    model: str


def _known(service: Service, *, user_id: str, requested_at: int) -> _Known:
    """What the user did, as interests, who reads it, and what is expected of them; in the service's thread.

    Raises:
        UnknownUserError: They have done nothing, or nothing before the instant.
    """
    service.take_in()
    question = read_question(
        RecommendRequest(user_id=user_id, requested_at=requested_at),
        service.bundle,
        service.items,
        service.state.histories.read(user_id),
        usual_event=service.usual_event,
        now=requested_at,
    )
    history = question.history
    if not len(history):
        raise UnknownUserError(f"user {user_id!r}: nothing is stored of the time before {requested_at}.")
    reader = _readers.get(service.bundle)
    if reader is None:
        reader = _readers[service.bundle] = InterestReader.of(service.bundle)
    mass = reader.taxonomy.shares_of(history.item_idx, later=service.items.categories)
    forecast, expected = service.forecast, None
    if forecast is not None:
        expected = forecast.of_history(mass, history, requested_at, service.encode(question.histories(service.bundle)))
    horizon = None if forecast is None else forecast.horizon
    return _Known(reader, mass, history.occurred_at, horizon, expected, service.bundle.fingerprint)
