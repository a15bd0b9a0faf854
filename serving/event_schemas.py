"""What users did, told to the service as it happens; and the deletion of a user."""

from typing import Annotated, Any

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.config import JsonDict

from serving.fields import AnswerModel, Instant, Latitude, Longitude, Name, RequestModel, Value, whole_place

MAX_EVENTS = 10_000

_ONE: JsonDict = {"event_id": "9f1c", "user_id": "196", "item_id": "242", "event": "view", "occurred_at": 893_286_638}


class NewEvent(RequestModel):
    """Something a user did. Sent twice, it counts once."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ONE]})

    user_id: Name
    """Who."""
    item_id: Name
    """With what. The catalogue need not hold it yet: the event counts as soon as it does."""
    event_id: Name | None = None
    """What makes it the same event when it comes again. Left out, two events of a user that are alike in item, kind,
    value and a given `occurred_at` are one."""
    occurred_at: Instant | None = None
    """Unix seconds, UTC; left out, it happened now."""
    event: Name | None = None
    """What was done: view, buy, …; left out, what is done most often."""
    value: Value | None = None
    """A rating, an amount, …"""
    lat: Latitude | None = None
    """Degrees north of where it happened; it needs `lon` too."""
    lon: Longitude | None = None
    """Degrees east."""

    _place = model_validator(mode="after")(whole_place)


class NewEvents(RequestModel):
    """Several events, of any users, kept all or none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": [_ONE, {"user_id": "22", "item_id": "7"}]}]})

    events: list[NewEvent] = Field(min_length=1, max_length=MAX_EVENTS)
    """Those of one user that share an instant keep this order."""


def _how_many(body: Any) -> str:
    return "many" if (isinstance(body, dict) and "events" in body) or isinstance(body, NewEvents) else "one"


OneOrMany = Annotated[Annotated[NewEvent, Tag("one")] | Annotated[NewEvents, Tag("many")], Discriminator(_how_many)]
"""An event by itself, or several under `events`."""


class EventsAnswer(AnswerModel):
    """The events are on the disk, and count in the next recommendation."""

    received: int
    """How many came."""
    new: int
    """How many of them had not come before."""
    warnings: list[str]
    """What will not count for now, and why."""


class UserDeleted(AnswerModel):
    """Nothing of the user is used any more, neither what was stored nor what the bundle holds."""

    events_removed: int
    """How many stored events there were."""
