"""The doors by which the service learns what users do, and forgets them."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from recsys.interactions import DAY_S
from serving.doors import Owner
from serving.event_schemas import EventsAnswer, NewEvent, OneOrMany, UserDeleted
from serving.fields import Name
from serving.live_items import LiveItems
from serving.problems import may_fail
from serving.refusals import RefusedError
from serving.stored_events import Retention, StoredEvent, as_kept, content_id, fresh_id

_NAMED = 5


class UntaggedRoute(APIRoute):
    """A body that is one of two models: a fault is placed in the body, not in the model that was tried."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's own, with the model's tag taken out of the places of faults."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Any:
            try:
                return await handler(request)
            except RequestValidationError as invalid:
                raise RequestValidationError([_untagged(fault) for fault in invalid.errors()]) from None

        return answer


events = APIRouter(prefix="/v1", tags=["users"], route_class=UntaggedRoute)


@events.post(
    "/events",
    responses=may_fail(HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def add_events(told: OneOrMany, owner: Owner) -> EventsAnswer:
    """Keep one event, or several.

    They are on the disk when the answer comes, all or none, each counted once however often it is sent, and they are in
    the user's next recommendation.
    """
    service = owner.service()
    one = isinstance(told, NewEvent)
    given = [told] if isinstance(told, NewEvent) else told.events
    now = int(time.time())
    _refuse_the_future(given, now=now, where=() if one else ("events",))
    new = await service.state.writer.add([_stored(event, now=now) for event in given])
    return EventsAnswer(
        received=len(given),
        new=new,
        warnings=_warnings(given, service.items, service.state.histories.retention, now=now),
    )


@events.delete(
    "/users/{user_id:name}",
    responses=may_fail(HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.SERVICE_UNAVAILABLE),
)
async def delete_user(
    user_id: Annotated[Name, Path(description="Whom to forget.", examples=["196"])], owner: Owner
) -> UserDeleted:
    """Forget a user.

    Their stored events are removed, and what the bundle holds of them is never used again; of their name only a keyed
    hash is kept, for that. Events that come later begin a new history.
    """
    state = owner.service().state
    return UserDeleted(events_removed=await state.change(partial(state.histories.forget, user_id)))


def _untagged(fault: Any) -> Any:
    place = fault["loc"]
    tagged = len(place) > 1 and place[0] == "body" and place[1] in ("one", "many")
    return {**fault, "loc": (place[0], *place[2:])} if tagged else fault


def _refuse_the_future(given: Sequence[NewEvent], *, now: int, where: tuple[str, ...]) -> None:
    for number, event in enumerate(given):
        if event.occurred_at is not None and event.occurred_at > now + DAY_S:
            place: tuple[str | int, ...] = (*where, number, "occurred_at") if where else ("occurred_at",)
            raise RefusedError(place, "More than a day in the future", given=event.occurred_at)


def _stored(told: NewEvent, *, now: int) -> StoredEvent:
    value = as_kept(told.value)
    event_id = told.event_id
    if event_id is None:
        known = told.occurred_at is not None
        event_id = content_id(told.item_id, told.occurred_at or 0, told.event, value) if known else fresh_id()
    return StoredEvent(
        user_id=told.user_id,
        event_id=event_id,
        item_id=told.item_id,
        occurred_at=now if told.occurred_at is None else told.occurred_at,
        event=told.event,
        value=value,
        lat=told.lat,
        lon=told.lon,
    )


def _warnings(given: Sequence[NewEvent], items: LiveItems, kept: Retention, *, now: int) -> list[str]:
    warnings = []
    unknown = list(dict.fromkeys(event.item_id for event in given if not items.index_of(event.item_id)))
    if unknown:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        named = ", ".join(map(repr, unknown[:_NAMED])) + more
        warnings.append(f"item_id: the catalogue does not hold {named}; kept for when it does.")
    horizon = kept.horizon(now)
    old = sum(event.occurred_at is not None and event.occurred_at < horizon for event in given)
    if old:
        warnings.append(f"occurred_at: {old} older than the {kept.max_age_s} seconds that are kept, and so not kept.")
    return warnings
