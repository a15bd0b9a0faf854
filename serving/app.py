"""The HTTP service: thin doors to a `Service`, which is loaded while the app already answers /healthz.

app = create_app(lambda: open_service(Path("runs/films")))
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Query, Request
from fastapi.telemetry import TelemetryConfig

from serving.access import Access
from serving.admin_routes import administration, metrics_route
from serving.admission import Admission
from serving.api_description import describe
from serving.batch_routes import batches
from serving.docs_page import docs_page
from serving.doors import Owner, owner_of, read_ahead
from serving.event_routes import events
from serving.fields import Name
from serving.hot_route import HotRoute
from serving.interest_routes import user_interests
from serving.item_routes import items
from serving.logs import user_tags
from serving.meters import Meters
from serving.owner import ServiceOwner
from serving.problems import answer_with_problems, may_fail
from serving.request_limits import RequestLimits
from serving.request_log import USER_ID, RequestLog
from serving.schemas import (
    MAX_K,
    ModelDescription,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    Status,
)
from serving.service import Service
from serving.settings import Settings
from serving.trial import Trial
from serving.variant import Variant
from serving.watch import watch

DESCRIPTION = """
Top-k recommendations for a user, for a history, or for nobody known.
Instants are unix seconds, UTC. Errors are problem documents (RFC 9457).
"""

READINGS_EVERY_S = 5.0

hot = APIRouter(prefix="/v1", tags=["recommendations"], route_class=HotRoute)
recommendations = APIRouter(prefix="/v1", tags=["recommendations"])
operations = APIRouter(tags=["operations"])


@hot.post(
    "/recommend",
    response_model_exclude_none=True,
    responses=may_fail(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def recommend(asked: RecommendRequest, request: Request) -> RecommendAnswer:
    """The k items this user will want next, best first.

    Give a user_id, a history, or both: the history comes after what is stored of the user. Give neither, or a user
    nobody knows, and the answer is what is popular now; `path` says which it was.
    """
    request.scope[USER_ID] = asked.user_id
    owner = owner_of(request)
    await read_ahead(owner, [asked])
    return await owner.recommend(asked)


@recommendations.get(
    "/items/{item_id:name}/similar",
    responses=may_fail(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def similar(
    item_id: Annotated[Name, Path(description="Which item; slashes may stand in it.", examples=["242"])],
    owner: Owner,
    k: Annotated[int, Query(ge=1, le=MAX_K, description="How many.")] = 10,
) -> SimilarAnswer:
    """The items nearest to one by vector, the item itself left out."""
    return await owner.run(lambda service: service.similar(item_id, k=k))


@recommendations.get(
    "/model",
    tags=["operations"],
    response_model_exclude_none=True,
    responses=may_fail(HTTPStatus.SERVICE_UNAVAILABLE),
)
async def model(owner: Owner) -> ModelDescription:
    """What is being served, and how good it was found to be."""
    return await owner.run(lambda service: service.describe())


@operations.get("/healthz")
async def healthz() -> Status:
    """Whether the process is alive."""
    return Status()


@operations.get("/readyz", responses=may_fail(HTTPStatus.SERVICE_UNAVAILABLE))
async def readyz(owner: Owner) -> Status:
    """Whether requests are answered; if not, why not."""
    owner.service()
    return Status()


def create_app(
    load: Callable[[], Service],
    *,
    settings: Settings | None = None,
    load_trial: Callable[[], Service] | None = None,
) -> FastAPI:
    """An app that serves what ``load`` gives.

    Args:
        load: Called when the app starts, and again for every swap. If it fails at first, /readyz says why and
            everything but /healthz answers 503.
        settings: Those of a service on one's own machine where left out.
        load_trial: The same for the second bundle, where there is one.

    Raises:
        InputError: The key file of the settings is missing or damaged.
    """
    settings = settings or Settings()
    meters = Meters()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        trial = None if load_trial is None else _trial(settings, load_trial)
        app.state.owner = owner = ServiceOwner(Variant("main", load), trial=trial, batch=settings.batch, meters=meters)
        owner.start()
        aside = [*_watchers(owner, settings), asyncio.create_task(_read_meters(owner))]
        yield
        for task in aside:
            task.cancel()
        owner.stop()

    app = FastAPI(
        title="recsys",
        version=version("two-tower-recsys"),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,  # docs_page has its own
        redoc_url=None,
        telemetry=_telemetry(wanted=settings.server.telemetry),
    )
    for router in (
        hot,
        batches,
        recommendations,
        events,
        items,
        user_interests,
        operations,
        administration,
        metrics_route,
        docs_page,
    ):
        app.include_router(router)
    answer_with_problems(app)
    describe(app)
    # The last one added stands outermost.
    app.add_middleware(Access, settings=settings.access, meters=meters)
    app.add_middleware(RequestLimits, limits=settings.limits, meters=meters)
    app.add_middleware(Admission, limits=settings.limits, meters=meters)
    app.add_middleware(RequestLog, meters=meters, user_tag=user_tags(settings.log))
    return app


def _trial(settings: Settings, load: Callable[[], Service]) -> Trial:
    told = settings.trial
    salt = told.salt.get_secret_value().encode()
    return Trial(variant=Variant("trial", load), share=told.share, salt=salt, shadow=told.shadow)


def _watchers(owner: ServiceOwner, settings: Settings) -> list["asyncio.Task[None]"]:
    folders = (settings.server.bundle, settings.trial.bundle)
    every_s = settings.swap.watch_s
    return [
        asyncio.create_task(watch(owner, variant, folder, every_s=every_s))
        for variant, folder in zip(owner.variants(), folders, strict=False)
        if every_s and folder is not None
    ]


async def _read_meters(owner: ServiceOwner) -> None:
    """Of several workers a scrape reaches one; the others must show their state by themselves."""
    while True:
        await asyncio.sleep(READINGS_EVERY_S)
        owner.take_readings()


def _telemetry(*, wanted: bool) -> TelemetryConfig:
    """Spans and metrics by the OTEL_… variables. No logs: an exception's words may hold what a caller sent."""
    return {"tracing": wanted, "metrics": wanted, "logs": False, "auto_configure": wanted}
