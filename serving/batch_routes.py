"""The door for several recommendations at once."""

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, Request

from serving.doors import owner_of, read_ahead
from serving.hot_route import HotRoute
from serving.problems import may_fail
from serving.refusals import RefusedError
from serving.schemas import RecommendAnswer, RecommendBatch, RecommendBatchAnswer

batches = APIRouter(prefix="/v1", tags=["recommendations"], route_class=HotRoute)


@batches.post(
    "/recommend/batch",
    response_model_exclude_none=True,
    responses=may_fail(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def recommend_batch(asked: RecommendBatch, request: Request) -> RecommendBatchAnswer:
    """Up to 256 recommendations in one answer, each as if it were asked alone.

    All come or none: of a request that cannot be answered the problem says which it is.
    """
    owner = owner_of(request)
    await read_ahead(owner, asked.requests)
    outcomes = await asyncio.gather(*map(owner.recommend, asked.requests), return_exceptions=True)
    answers = []
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, RefusedError):
            raise outcome.under("requests", number)
        if not isinstance(outcome, RecommendAnswer):
            raise outcome
        answers.append(outcome)
    return RecommendBatchAnswer(answers=answers)
