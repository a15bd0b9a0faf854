"""Several replicas of the service behind one address, on one machine or many, by Ray Serve.

Each replica is the very app of `recsys serve`. Ray deals out requests, adds replicas while requests queue, takes them
away when they do not, and replaces those that die. Users' events are shared by Redis (state.redis_url); without it each
machine has its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions
from starlette.types import Lifespan

from serving.logs import configure_logs
from serving.server import app_of, folder_of
from serving.settings import Settings
from serving.state import State

NAME = "recsys"
WAITING_FOR_EACH = 2
"""Requests under way at each replica, by the average of late, past which there should be another: one in the model and
one for the next batch."""

LOOK_EVERY_S = 0.05

logger = logging.getLogger(__name__)


def application(settings: Settings, *, fewest: int, most: int) -> serve.Application:
    """What Ray is to run.

    Args:
        settings: Of every replica; ports and workers are Ray's to choose.
        fewest: Replicas that are always there.
        most: While requests queue.
    """

    @serve.deployment(
        name=NAME,
        autoscaling_config=AutoscalingConfig(
            min_replicas=fewest, max_replicas=most, target_ongoing_requests=WAITING_FOR_EACH
        ),
        max_ongoing_requests=settings.limits.max_in_flight,
        graceful_shutdown_timeout_s=settings.server.drain_s,
        ray_actor_options={"num_cpus": 1},
    )
    @serve.ingress(_builder(settings))
    class Replica:
        """Nothing of its own: the app does it all."""

    return Replica.bind()  # type: ignore[attr-defined]  # by the decorator, which mypy does not follow


def run(settings: Settings, *, fewest: int, most: int) -> None:
    """Start the replicas and come back once they answer; Ray runs them on.

    It starts a local cluster where none was joined before.

    Raises:
        InputError: The settings name no bundle.
    """
    folder_of(settings)
    serve.start(http_options=HTTPOptions(host=settings.server.host, port=settings.server.port))
    serve.run(application(settings, fewest=fewest, most=most), name=NAME, route_prefix="/")


def _builder(settings: Settings) -> Callable[[], FastAPI]:
    """Makes the app where it is to run: models and threads cannot be sent there."""

    def build() -> FastAPI:
        configure_logs(settings.log)
        app, state = app_of(settings, nothing_to_serve=lambda problem: logger.error("Nothing to serve: %s", problem))
        app.router.lifespan_context = _once_loaded(app.router.lifespan_context, state)
        return app

    return build


def _once_loaded(lifespan: Lifespan[FastAPI], state: State) -> Lifespan[FastAPI]:
    """The same lifespan, but it begins with the bundle in memory: Ray sends requests to whatever has begun."""

    @asynccontextmanager
    async def loaded(app: FastAPI) -> AsyncIterator[None]:
        async with lifespan(app):
            while app.state.owner.is_loading():
                await asyncio.sleep(LOOK_EVERY_S)
            app.state.owner.service()  # or why there is none
            yield
        state.close()

    return loaded
