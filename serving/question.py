"""A request in the numbers of the bundle: whose history, as of when, and what of it could not be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from recsys.bundle import Bundle
from recsys.histories import Histories, gather_histories
from recsys.interactions import DAY_S, Interactions
from serving.history import Event, extended, stored_history
from serving.schemas import HistoryEvent, RecommendRequest

Path = Literal["personal", "history", "popular"]

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
    warnings: list[str]

    @property
    def path(self) -> Path:
        """From what it can be answered."""
        if self.num_stored:
            return "personal"
        return "history" if len(self.history) else "popular"

    @cached_property
    def seen(self) -> npt.NDArray[np.int64]:
        """item_idx of all the history holds, each once."""
        return np.unique(self.history.item_idx).astype(np.int64)

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


def read_question(request: RecommendRequest, bundle: Bundle, *, usual_event: int, now: int) -> Question:
    """Look up what a request names; what the bundle does not know is left out and named in the warnings.

    Args:
        request: Checked.
        bundle: Whose numbers to use.
        usual_event: The kind of an event that does not say its kind, or one that nobody knows.
        now: Unix seconds: when the request was made, if it does not say.
    """
    requested_at = _instant(request, now)
    stored = stored_history(bundle.interactions, request.user_id, before=requested_at)
    known = [told for told in request.history if bundle.catalogue.index_of(told.item_id)]
    in_time = [told for told in known if _occurred_at(told, requested_at) <= requested_at]
    late = [told for told in known if _occurred_at(told, requested_at) > requested_at]
    unknown = [told for told in request.history if not bundle.catalogue.index_of(told.item_id)]
    events = [
        Event(
            item_idx=bundle.catalogue.index_of(told.item_id),
            event=_event(told, bundle.interactions, usual_event),
            value=np.nan if told.value is None else told.value,
            occurred_at=_occurred_at(told, requested_at),
        )
        for told in in_time
    ]
    return Question(
        history=extended(stored, events),
        num_stored=len(stored),
        requested_at=requested_at,
        warnings=[
            *_about_request(request, bundle.interactions),
            *_left_out("the catalogue does not hold", unknown),
            *_left_out("later than the request:", late),
            *_about_kinds(in_time, bundle.interactions.event_names),
        ],
    )


def _instant(request: RecommendRequest, now: int) -> int:
    if request.requested_at is not None:
        return request.requested_at
    # A caller's clock may be ahead of ours: what they have just seen happen is not in the future.
    told = [event.occurred_at for event in request.history if event.occurred_at is not None]
    return max([now, *(occurred_at for occurred_at in told if occurred_at <= now + DAY_S)])


def _occurred_at(told: HistoryEvent, requested_at: int) -> int:
    return requested_at if told.occurred_at is None else told.occurred_at


def _event(told: HistoryEvent, interactions: Interactions, usual_event: int) -> int:
    if told.event is None or told.event not in interactions.event_names:
        return usual_event
    return list(interactions.event_names).index(told.event)


def _about_request(request: RecommendRequest, interactions: Interactions) -> list[str]:
    warnings = []
    if request.user_id is not None and interactions.user_index(request.user_id) is None:
        warnings.append(f"user_id: nothing is stored of {request.user_id!r}.")
    if request.requested_at is not None and interactions.occurred_at is None:
        warnings.append("requested_at: the bundle's interactions have no clock, so all that is stored was read.")
    return warnings


def _left_out(why: str, events: Sequence[HistoryEvent]) -> list[str]:
    return [f"history: left out, {why} {_some(event.item_id for event in events)}."] if events else []


def _about_kinds(events: Sequence[HistoryEvent], known: Sequence[str]) -> list[str]:
    odd = [event.event for event in events if event.event is not None and event.event not in known]
    kinds = ", ".join(filter(None, known)) or "no kinds of event"
    return [f"history: {_some(odd)} read as an ordinary event; the bundle knows {kinds}."] if odd else []


def _some(names: Iterable[str]) -> str:
    """The first few distinct names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return ", ".join(map(repr, distinct[:_NAMED])) + more
