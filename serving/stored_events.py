"""What is kept of users while the service runs, and what every store of it can do.

Order within a user is by time; events of one instant keep the order in which they arrived.
"""

import hashlib
import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np


class StoredEvent(NamedTuple):
    """Something a user did. The fields are in the order of the tables' columns."""

    user_id: str
    event_id: str
    """What makes it the same event when it comes again: given, or made of its content. Counts within its user."""
    item_id: str
    """Perhaps of an item the catalogue does not hold yet."""
    occurred_at: int
    """Unix seconds, UTC."""
    event: str | None = None
    """What was done; None where it was not said."""
    value: float | None = None
    """As a float32 holds it; None where unknown."""
    lat: float | None = None
    lon: float | None = None


@dataclass(frozen=True)
class Retention:
    """How much is kept of one user."""

    max_events: int = 1_000
    """The newest; no fewer than the model reads."""
    max_age_s: int | None = None
    """What happened longer ago is neither read nor kept; None keeps it as long as it is among the newest."""

    def horizon(self, now: int) -> int:
        """The instant before which nothing counts."""
        return 0 if self.max_age_s is None else now - self.max_age_s


class UserEvents(NamedTuple):
    """What a store knows of one user."""

    events: list[StoredEvent]
    """Oldest first."""
    forgotten: bool
    """Whether they were once deleted: what a bundle holds of them must not be used any more."""


class HistoryStore(Protocol):
    """Events by user. Any thread may call any method; an event that was added survives the process.

    Every method raises `UnavailableError` where the store cannot be reached, is locked for too long, or is full.
    """

    retention: Retention

    def add(self, batches: Sequence[Sequence[StoredEvent]]) -> list[int]:
        """Keep several batches of events at once, each event once; returns how many of each batch were new.

        All of them are safe when it returns, and none of them is kept when it fails.
        """
        ...

    def read(self, user_id: str) -> UserEvents:
        """What is known of a user."""
        ...

    def forget(self, user_id: str) -> int:
        """Remove all that is known of a user but a keyed hash of the name; returns how many events that were."""
        ...

    def forgotten(self, user_ids: Collection[str]) -> set[str]:
        """Which of these users were once deleted."""
        ...

    def prune(self, *, now: int) -> int:
        """Remove what is older than may be kept; returns how many events that were."""
        ...

    def everything(self) -> Iterator[list[StoredEvent]]:
        """All events in parts, each user's together and oldest first."""
        ...

    def close(self) -> None:
        """Let go of files and connections."""
        ...


def as_kept(value: float | None) -> float | None:
    """A value as a float32 holds it, which is how bundles keep values: so the two can be compared."""
    return None if value is None else float(np.float32(value))


def content_id(item_id: str, occurred_at: int, event: str | None, value: float | None) -> str:
    """The event_id of an event that was told without one: two that are alike in everything are one.

    It is the rule by which repeated rows of a table count once, too.

    Example:
        >>> content_id("tea", 7, "view", None) == content_id("tea", 7, "view", None) != content_id("tea", 8, None, None)
        True
    """
    content = f"{occurred_at} {value} {len(item_id)} {item_id}{event or ''}"  # the length parts the two names
    return "=" + hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def fresh_id() -> str:
    """The event_id of an event that says neither its id nor when it happened: it is like no other."""
    return "~" + uuid.uuid4().hex
