"""A request in the numbers of the bundle: whose history, as of when, and what of it could not be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import Literal

import numpy as np
import numpy.typing as npt

from index.filters import Filter
from recsys.bundle import Bundle
from recsys.histories import Histories, gather_histories
from recsys.intents import refusal
from recsys.interactions import DAY_S, Interactions
from recsys.ranking import makes_seen
from serving.history import Event, before, bundle_rows, extended, merged, new_to
from serving.live_items import LiveItems
from serving.refusals import RefusedError
from serving.schemas import HistoryEvent, RecommendRequest
from serving.stored_events import StoredEvent, UserEvents
from serving.wishes import Filters

Path = Literal["personal", "history", "popular"]

NOTHING = UserEvents([], forgotten=False)
"""What is known of a user nobody has told anything of."""
UNREADABLE = UserEvents([], forgotten=True)
"""What is known while the store does not answer: the user may be a deleted one."""

_NAMED = 5
"""How many of the unusable a warning names."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """What is to be answered."""

    history: Interactions
    """One user's, all before the request; perhaps empty."""
    num_stored: int
    """How many of its events were stored; the others came with the request."""
    requested_at: int
    """Unix seconds, UTC."""
    filters: Filter | None
    """Which items may answer it."""
    brings_items: bool
    """Whether the history holds items that only this request knows: their numbers mean something else in the next."""
    warnings: list[str]

    @property
    def path(self) -> Path:
        """From what it can be answered."""
        if self.num_stored:
            return "personal"
        return "history" if len(self.history) else "popular"

    def seen(self, by: bool | Sequence[str]) -> npt.NDArray[np.int64]:
        """item_idx of what of the history may not be recommended, each once.

        Args:
            by: Whether any of it may not, or the event types that make it so.
        """
        if by is False:
            return np.zeros(0, np.int64)
        rows = np.arange(len(self.history))
        made = makes_seen(self.history, rows, None if by is True else by)
        return np.unique(self.history.item_idx[made]).astype(np.int64)

    def histories(self, bundle: Bundle) -> Histories:
        """(1, H) the newest events, as the user tower reads them."""
        tower = bundle.config.user_tower
        asks_when = tower.request_time and self.history.occurred_at is not None
        return gather_histories(
            self.history,
            self.history.starts[:-1],
            self.history.starts[1:],
            length=tower.history_length,
            requested_at=np.array([self.requested_at]) if asks_when else None,
        )


def read_question(
    request: RecommendRequest,
    bundle: Bundle,
    items: LiveItems,
    kept: UserEvents = NOTHING,
    *,
    usual_event: int,
    now: int,
) -> Question:
    """Look up what a request names; what the bundle does not know is left out and named in the warnings.

    The user's events of the bundle count up to the instant of the request, unless the user was deleted; stored ones
    count that instant too, since one that was stored a moment ago bears the same second.

    Args:
        request: Checked.
        bundle: Whose numbers to use.
        items: The bundle's and those that came since; it holds the items that the request brings.
        kept: What the history store knows of the user.
        usual_event: The kind of an event that does not say its kind, or one that nobody knows.
        now: Unix seconds: when the request was made, if it does not say.

    Raises:
        RefusedError: A filter or an item of the request asks about what the catalogue does not have, or there is no
            such intent or event type.
        UnavailableError: A text must be read and there is no encoder.
    """
    _refuse_unknown_intent(request.intent, bundle)
    _refuse_unknown_events(request.exclude_seen, bundle.interactions.event_names)
    requested_at = _instant(request, kept.events, now)
    kinds = _Kinds(bundle.interactions.event_names, usual_event)
    own = bundle_rows(bundle.interactions, None if kept.forgotten else request.user_id)
    stored = [one for one in kept.events if one.occurred_at <= requested_at]
    added = new_to(own, [_stored(one, items, kinds) for one in stored if items.index_of(one.item_id)])
    past = merged(before(own, requested_at), added)

    brought = _brought(request, items)
    known = [told for told in request.history if items.index_of(told.item_id) or told.item_id in brought]
    in_time = [told for told in known if _occurred_at(told, requested_at) <= requested_at]
    late = [told for told in known if _occurred_at(told, requested_at) > requested_at]
    told = [
        Event(
            item_idx=items.index_of(one.item_id) or brought[one.item_id],
            event=kinds.number(one.event),
            value=nan if one.value is None else one.value,
            occurred_at=_occurred_at(one, requested_at),
            lat=nan if one.lat is None else one.lat,
            lon=nan if one.lon is None else one.lon,
        )
        for one in in_time
    ]
    history = extended(past, told)
    return Question(
        history=history,
        num_stored=len(past),
        requested_at=requested_at,
        filters=None if request.filters is None else _filter(request.filters, bundle, items),
        brings_items=bool(brought),
        warnings=[
            *_about_user(request.user_id, kept, nothing_stored=not len(own) and not kept.events),
            *_about_request(request, bundle, stranger=not len(history)),
            *_left_out("stored events", "the catalogue does not hold", _unknown(stored, items)),
            *_left_out("history", "the catalogue does not hold", _unknown(request.history, items, brought)),
            *_left_out("history", "later than the request:", [one.item_id for one in late]),
            *_about_kinds(in_time, bundle.interactions.event_names),
            *_about_filters(request.filters, items),
        ],
    )


@dataclass(frozen=True)
class _Kinds:
    """The kinds of event that the bundle tells apart."""

    names: Sequence[str]
    usual: int

    def number(self, name: str | None) -> int:
        return self.usual if name is None or name not in self.names else list(self.names).index(name)


def _refuse_unknown_intent(intent: str | None, bundle: Bundle) -> None:
    if intent is not None and intent not in bundle.intents:
        raise RefusedError(("intent",), refusal(intent, bundle.intents))


def _refuse_unknown_events(seen_by: bool | Sequence[str], known: Sequence[str]) -> None:
    for at, name in enumerate([] if isinstance(seen_by, bool) else seen_by):
        if name not in known:
            told = ", ".join(filter(None, known)) or "none"
            raise RefusedError(("exclude_seen", at), f"The bundle's event types are: {told}", given=name)


def _instant(request: RecommendRequest, stored: Sequence[StoredEvent], now: int) -> int:
    if request.requested_at is not None:
        return request.requested_at
    # A caller's clock may be ahead of ours: what they have just seen happen is not in the future.
    told = [event.occurred_at for event in request.history if event.occurred_at is not None]
    told += [event.occurred_at for event in stored[-1:]]
    return max([now, *(occurred_at for occurred_at in told if occurred_at <= now + DAY_S)])


def _occurred_at(told: HistoryEvent, requested_at: int) -> int:
    return requested_at if told.occurred_at is None else told.occurred_at


def _stored(one: StoredEvent, items: LiveItems, kinds: _Kinds) -> Event:
    return Event(
        item_idx=items.index_of(one.item_id),
        event=kinds.number(one.event),
        value=nan if one.value is None else one.value,
        occurred_at=one.occurred_at,
        lat=nan if one.lat is None else one.lat,
        lon=nan if one.lon is None else one.lon,
    )


def _brought(request: RecommendRequest, items: LiveItems) -> dict[str, int]:
    """item_id → row of each item that nobody knows and the request tells of; told twice, the last counts."""
    documents = {}
    for place, told in enumerate(request.history):
        if told.item is not None and not items.index_of(told.item_id):
            documents[told.item_id] = document = told.item.document()
            try:
                items.cold.check(document)
            except RefusedError as refusal:
                raise refusal.under("history", place, "item") from None
    return dict(zip(documents, items.hold(list(documents.items())), strict=True)) if documents else {}


def _filter(wished: Filters, bundle: Bundle, items: LiveItems) -> Filter:
    for name in wished.ranges:
        if name not in bundle.catalogue.numbers:
            columns = ", ".join(bundle.catalogue.numbers) or "none"
            raise RefusedError(("filters", "ranges", name), f"The catalogue's numeric columns are: {columns}")
    return Filter(
        allow=None if wished.allow is None else _known(wished.allow, items),
        deny=_known(wished.deny, items),
        any_of=wished.any_of,
        all_of=wished.all_of,
        none_of=wished.none_of,
        ranges={name: (bounds.min, bounds.max) for name, bounds in wished.ranges.items()},
    )


def _known(item_ids: Iterable[str], items: LiveItems) -> list[int]:
    return [item_idx for item_id in item_ids if (item_idx := items.index_of(item_id))]


def _unknown(events: Iterable[StoredEvent | HistoryEvent], items: LiveItems, brought: Iterable[str] = ()) -> list[str]:
    held = set(brought)
    return [one.item_id for one in events if not items.index_of(one.item_id) and one.item_id not in held]


def _about_user(user_id: str | None, kept: UserEvents, *, nothing_stored: bool) -> list[str]:
    if user_id is None:
        return []
    if kept is UNREADABLE:
        return ["user_id: what is stored cannot be read now, so the user is answered as a stranger."]
    return [f"user_id: nothing is stored of {user_id!r}."] if nothing_stored else []


def _about_request(request: RecommendRequest, bundle: Bundle, *, stranger: bool) -> list[str]:
    warnings = []
    if request.intent is not None and stranger:
        warnings.append("intent: nothing is known of the user, so the answer is what is popular, whatever for.")
    if request.requested_at is not None and bundle.interactions.occurred_at is None:
        warnings.append("requested_at: the bundle's interactions have no clock, so all that is stored was read.")
    if request.place is not None and bundle.model.user_tower.place is None:
        warnings.append("place: the bundle's towers do not read places, so it changed nothing.")
    return warnings


def _left_out(where: str, why: str, item_ids: Sequence[str]) -> list[str]:
    return [f"{where}: left out, {why} {_some(item_ids)}."] if item_ids else []


def _about_kinds(events: Sequence[HistoryEvent], known: Sequence[str]) -> list[str]:
    odd = [event.event for event in events if event.event is not None and event.event not in known]
    kinds = ", ".join(filter(None, known)) or "no kinds of event"
    return [f"history: {_some(odd)} read as an ordinary event; the bundle knows {kinds}."] if odd else []


def _about_filters(wished: Filters | None, items: LiveItems) -> list[str]:
    if wished is None:
        return []
    named = {"allow": wished.allow or [], "deny": wished.deny}
    unknown = {where: [one for one in item_ids if not items.index_of(one)] for where, item_ids in named.items()}
    return [
        f"filters.{where}: the catalogue does not hold {_some(item_ids)}."
        for where, item_ids in unknown.items()
        if item_ids
    ]


def _some(names: Iterable[str]) -> str:
    """The first few distinct names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return ", ".join(map(repr, distinct[:_NAMED])) + more
