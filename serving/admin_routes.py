"""What an operator asks of a running service: swap its bundle, go back, and what it has counted."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Response

from serving import meters
from serving.admin_schemas import SwapAnswer, VariantName
from serving.doors import Owner
from serving.owner import ServiceOwner
from serving.problems import may_fail
from serving.service import Service
from serving.variant import SwapRefusedError, Variant

administration = APIRouter(prefix="/v1/admin", tags=["administration"])
metrics_route = APIRouter(tags=["operations"])

Which = Annotated[VariantName, Query(description="Which bundle: the main one, or the one under trial.")]
_REFUSALS = may_fail(HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)


@administration.post("/reload", response_model_exclude_none=True, responses=_REFUSALS)
async def reload(owner: Owner, variant: Which = VariantName.MAIN) -> SwapAnswer:
    """Load what the bundle's folder holds now beside what runs, warm it up, and let it take over between two answers.

    A bundle that cannot be loaded changes nothing, and the answer says what is wrong with it. Of several workers or
    replicas this reaches one; let them watch the folder instead (swap.watch_s).
    """
    chosen = _chosen(owner, variant)
    now, before = await owner.change(chosen.swap)
    return _answer(variant, now, before)


@administration.post("/rollback", response_model_exclude_none=True, responses=_REFUSALS)
async def rollback(owner: Owner, variant: Which = VariantName.MAIN) -> SwapAnswer:
    """Let the bundle that ran before take over again, at once: it was kept."""
    chosen = _chosen(owner, variant)
    now, before = await owner.change(chosen.roll_back)
    return _answer(variant, now, before)


@metrics_route.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "For Prometheus."}},
)
async def metrics(owner: Owner) -> Response:
    """What has been counted and timed, in the text format of Prometheus."""
    owner.take_readings()
    return Response(owner.meters.exposition(), headers={"content-type": meters.MEDIA_TYPE})


def _chosen(owner: ServiceOwner, name: VariantName) -> Variant:
    for variant in owner.variants():
        if variant.name == name:
            return variant
    raise SwapRefusedError("There is no bundle under trial; trial.bundle in the settings names one.")


def _answer(name: VariantName, now: Service, before: Service | None) -> SwapAnswer:
    return SwapAnswer(
        variant=name,
        model=now.bundle.fingerprint,
        before=None if before is None else before.bundle.fingerprint,
        items=len(now.index),
    )
