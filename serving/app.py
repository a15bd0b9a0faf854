"""The HTTP service: thin doors to a `Service`, which is loaded while the app already answers /healthz.

app = create_app(lambda: open_service(Path("runs/films")))
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, FastAPI, Path, Query

from serving.doors import Owner
from serving.owner import ServiceOwner
from serving.problems import answer_with_problems, may_fail
from serving.schemas import (
    MAX_K,
    ModelDescription,
    Name,
    RecommendAnswer,
    RecommendRequest,
    SimilarAnswer,
    Status,
)
from serving.service import Service

DESCRIPTION = """
Top-k recommendations for a user, for a history, or for nobody known.
Instants are unix seconds, UTC. Errors are problem documents (RFC 9457).
"""


recommendations = APIRouter(prefix="/v1", tags=["recommendations"])
operations = APIRouter(tags=["operations"])


@recommendations.post(
    "/recommend",
    response_model_exclude_none=True,
    responses=may_fail(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def recommend(request: RecommendRequest, owner: Owner) -> RecommendAnswer:
    """The k items this user will want next, best first.

    Give a user_id, a history, or both: the history comes after what is stored of the user. Give neither, or a user
    nobody knows, and the answer is what is popular now; `path` says which it was.
    """
    return await owner.run(lambda service: service.recommend(request))


@recommendations.get(
    "/items/{item_id:path}/similar",
    responses=may_fail(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def similar(
    item_id: Annotated[Name, Path(examples=["242"])],
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


def create_app(load: Callable[[], Service]) -> FastAPI:
    """An app that serves what ``load`` gives.

    Args:
        load: Called once, in the thread that will own the service, when the app starts. If it fails, /readyz says why
            and everything but /healthz answers 503.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.owner = owner = ServiceOwner(load)
        owner.start()
        yield
        owner.stop()

    app = FastAPI(
        title="recsys",
        version=version("two-tower-recsys"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
    )
    app.include_router(recommendations)
    app.include_router(operations)
    answer_with_problems(app)
    return app
