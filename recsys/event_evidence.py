"""What speaks for one event type rather than another, should the user turn to a candidate now: a view, a cart, a buy.

Every kind of evidence is a share of event types, counted where it tells something: with the item, in the user's
history, and after what the user last did with the candidate, with one of its interests, or with anything at all. What
is counted are training rows, those with the item up to the request alone, and histories end before it: no event at or
after the request is read.

Shapes: B histories, H events, C candidates, E event types told apart, T types of the table, S states, G gaps, K kinds
of evidence, N items, M interests of one item, I interests, R rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.evidence import HISTORY_ITEMS, Popularity, steps_back
from recsys.histories import Histories, newest_events
from recsys.interactions import DAY_S, Interactions
from recsys.split import Cases

FEWEST_ROWS = 50
"""What an event type needs, of validation targets and of training rows, to be told apart; fewer cannot settle how."""
GAPS_S = (3_600, DAY_S, 7 * DAY_S)
"""Where there is a clock, that long ago are different things: less than an hour, a day, a week, or more."""
GAPS_STEPS = (1, 4, 16)
"""Where there is none, so many events ago."""
USUAL_ROWS = tuple(np.logspace(0, 3, 13).tolist())
"""With so many rows of the usual shares an item or a user may start; what foretells training rows best is taken."""
BASE_RATES = 1
"""How many kinds of evidence, the first, are the base rates of item and user."""
FEW_EVENTS = 4.0
"""Added to those of a history before it is said how far it is off from what its items would have."""
COARSER_ROWS = 20.0
"""With how many rows of the coarser share that of a state, and that of a state and a gap, starts."""

Rows = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float64]


def types_told_apart(train: Interactions, validation: Cases, interactions: Interactions) -> tuple[str, ...]:
    """The named event types that are frequent enough to learn from; none where there are not two.

    Args:
        train: The training rows.
        validation: The cases that are learnt on.
        interactions: The table the cases point into.
    """
    types = len(interactions.event_names)
    asked = np.bincount(interactions.event[validation.first_targets()], minlength=types)
    known = np.bincount(train.event, minlength=types)
    frequent = (asked >= FEWEST_ROWS) & (known >= FEWEST_ROWS)
    names = tuple(name for name, enough in zip(interactions.event_names, frequent, strict=True) if name and enough)
    return names if len(names) > 1 else ()


@dataclass(frozen=True, eq=False)
class EventEvidence:
    """Shares of event types, and how a request asks for them.

    What the user last did is a state: the number of the event type, E for one that is not told apart, E + 1 for
    nothing. How long ago it was is a gap, one of `GAPS_S` or `GAPS_STEPS`.
    """

    names: tuple[str, ...]
    """(E,) the event types told apart."""
    number_of: Tensor
    """(T,) int64 where each event type of the table stands in ``names``; E for any other."""
    interests: Tensor
    """(N + 1, M) int64 the interests of each item, from 1; 0 fills up."""
    usual: Tensor
    """(E,) float64 the share of each type in the training rows."""
    usual_rows: tuple[float, float]
    """With how many rows of the usual shares an item's shares start, and a user's."""
    with_item: Popularity
    """When each type happened with each item, which are numbered together: item_idx · E + number of the type."""
    after: Tensor
    """(2 or 3, S, G, E) log of a type's share after a state, over its usual share: of the candidate, of its interests
    where there are any, of anything."""
    has_clock: bool
    request_time: bool
    """Whether the gaps counted reach to the instant of the next event, or of the newest before it."""

    @classmethod
    def of(cls, train: Interactions, names: Sequence[str], interests: Tensor, *, request_time: bool) -> "EventEvidence":
        """From the training rows; nothing else of the table is looked at.

        Args:
            train: With at least one row of each type.
            names: ``(E,)`` from `types_told_apart`.
            interests: ``(N + 1, M)``.
            request_time: Whether requests know their instant.
        """
        types, num_items = len(names), len(interests)
        number_of = np.array([names.index(name) if name in names else types for name in train.event_names])
        number = number_of[train.event]
        told = number < types
        key = (train.item_idx.astype(np.int64) * types + number)[told]
        usual = np.bincount(number[told], minlength=types) / np.count_nonzero(told)
        with_item = np.bincount(key, minlength=num_items * types).reshape(-1, types)
        user_key = train.user_idx[told].astype(np.int64) * types + number[told]
        by_user = np.bincount(user_key, minlength=len(train.user_ids) * types).reshape(-1, types)
        instants = np.zeros(len(train), np.int64) if train.occurred_at is None else train.occurred_at
        keys = [train.item_idx[:, None], interests.numpy()[train.item_idx], np.ones((len(train), 1), np.int64)]
        sources = keys if interests.any() else [keys[0], keys[2]]
        return cls(
            names=tuple(names),
            number_of=torch.from_numpy(number_of),
            interests=interests,
            usual=torch.from_numpy(usual),
            usual_rows=(_usual_rows(with_item, usual), _usual_rows(by_user, usual)),
            with_item=Popularity.counted(key, instants[told], num_items=num_items * types - 1),
            after=torch.stack(
                [_log_shares_after(train, shared, number, usual, request_time=request_time) for shared in sources]
            ),
            has_clock=train.occurred_at is not None,
            request_time=request_time,
        )

    def measure(self, measured: Tensor, candidates: Tensor, histories: Histories) -> Tensor:
        """Every kind of evidence for every event type with every candidate.

        Args:
            measured: ``(B, C, F)`` what speaks for the candidates themselves, which may bear on the type as well.
            candidates: ``(B, C)`` item_idx, 0 where there is none. Of what came after training, beyond N, the shares
                are the usual ones.
            histories: B of them; what is read of the instant of the request is ``asked_at`` of the newest event.

        Returns:
            ``(B, C, E, K)`` finite numbers: `shares`, then which type it is, and ``measured``.
        """
        shares, types = self.shares(candidates, histories), len(self.names)
        which = torch.eye(types).expand(*candidates.shape, types, types)
        return torch.cat([shares, which, measured[:, :, None].expand(-1, -1, types, -1)], dim=-1)

    def shares(self, candidates: Tensor, histories: Histories) -> Tensor:
        """The first kinds of evidence, which are about event types alone; the arguments are those of `measure`.

        Returns:
            ``(B, C, E, num_shares)``. The first is the base rate of item and user, the logarithm of
            P(type | item) · P(type | user) / P(type); then its parts, what the user does more often than others do, and
            what each state says.
        """
        histories = newest_events(histories, HISTORY_ITEMS)
        number = self.number_of[histories.event].masked_fill(histories.item_idx == 0, len(self.names))  # (B, H)
        with_items = self._shares_with(torch.cat([candidates, histories.item_idx], dim=1), histories)
        of_candidates, of_history = with_items.split([candidates.shape[1], number.shape[1]], dim=1)
        item, usual = self._over_usual(of_candidates), self.usual.log().float()
        user, bent = self._of_user(number, of_history)
        states = self._after(self._last(candidates, number, histories), histories)
        kinds = [usual + item + user, usual, item, user, bent, *states]
        return torch.stack([kind.expand_as(item) for kind in kinds], dim=-1)

    @property
    def num_shares(self) -> int:
        """How many kinds of evidence `shares` has."""
        return 5 + len(self.after)

    def tensors(self) -> dict[str, Tensor]:
        """What `from_tensors` needs beside `facts`, for a safetensors file."""
        return {
            "number_of": self.number_of,
            "usual": self.usual,
            "usual_rows": torch.tensor(self.usual_rows, dtype=torch.float64),
            "after": self.after,
            "starts": torch.from_numpy(self.with_item.starts),
            "instants": torch.from_numpy(self.with_item.instants),
        }

    def facts(self) -> dict[str, object]:
        """What is no tensor, as JSON can say it."""
        return {"names": list(self.names), "has_clock": self.has_clock, "request_time": self.request_time}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, Tensor], facts: Mapping[str, object], interests: Tensor
    ) -> "EventEvidence":
        """The reverse of `tensors` and `facts`."""
        names, of_item_and_user = facts["names"], tensors["usual_rows"].tolist()
        assert isinstance(names, list)
        return cls(
            names=tuple(names),
            number_of=tensors["number_of"],
            interests=interests,
            usual=tensors["usual"],
            usual_rows=(of_item_and_user[0], of_item_and_user[1]),
            with_item=Popularity(tensors["starts"].numpy(), tensors["instants"].numpy()),
            after=tensors["after"],
            has_clock=bool(facts["has_clock"]),
            request_time=bool(facts["request_time"]),
        )

    def _shares_with(self, items: Tensor, histories: Histories) -> Tensor:  # (B, any) -> (B, any, E)
        """P(type | item) as of the request."""
        types = len(self.names)
        known = items.masked_fill(items >= len(self.interests), 0)
        keys = (known[:, :, None] * types + torch.arange(types)).numpy()
        asked_at = histories.asked_at.gather(1, histories.newest[:, None]).numpy()
        # Without a clock all instants are 0, and any that is later takes in all of them.
        now = self.with_item.as_of(asked_at if self.has_clock else asked_at + 1)  # (B, 1)
        counts = self.with_item.before(keys, now[:, :, None]) - self.with_item.starts[keys]
        return self._smoothed(torch.from_numpy(counts), rows=self.usual_rows[0])

    def _of_user(self, number: Tensor, with_items: Tensor) -> tuple[Tensor, Tensor]:  # (B, 1, E) each
        """Log of a type's share in the history over its usual share, and what of it is the user's, not the items'.

        The second is by how much it happened more often than with those items in general, in deviations.
        """
        done = F.one_hot(number, len(self.names) + 1)[..., :-1]  # (B, H, E)
        told = done.sum(-1, keepdim=True)
        more = (done - with_items * told).sum(1, keepdim=True) / (told.sum(1, keepdim=True) + FEW_EVENTS).sqrt()
        shares = self._smoothed(done.sum(1, keepdim=True), rows=self.usual_rows[1])
        return self._over_usual(shares), more.float()

    def _smoothed(self, counts: Tensor, *, rows: float) -> Tensor:
        return (counts + rows * self.usual) / (counts.sum(-1, keepdim=True) + rows)

    def _over_usual(self, shares: Tensor) -> Tensor:
        return torch.log(shares / self.usual).float()

    def _last(self, candidates: Tensor, number: Tensor, histories: Histories) -> Tensor:  # (2 or 3, B, C)
        """The last event with the candidate, with its interests, with anything: steps back · S + state."""
        item_idx, states = histories.item_idx, self._states
        never = HISTORY_ITEMS * states + states - 1
        code = (steps_back(item_idx) * states + number).masked_fill(item_idx == 0, never)  # (B, H) the latest is least
        same = (candidates[:, :, None] == item_idx[:, None]) & (candidates[:, :, None] > 0)
        found = [torch.where(same, code[:, None], never).amin(2)]
        if len(self.after) == 3:
            found.append(self._last_of_interest(candidates, item_idx, code, never=never))
        return torch.stack([*found, code.amin(1, keepdim=True).expand(candidates.shape)])

    def _last_of_interest(self, candidates: Tensor, item_idx: Tensor, code: Tensor, *, never: int) -> Tensor:
        def held(items: Tensor) -> Tensor:  # (B, any) -> (B, any, M)
            return self.interests[items.masked_fill(items >= len(self.interests), 0)]

        done, asked = held(item_idx), held(candidates)
        last = torch.full((len(item_idx), self._num_interests + 1), never)
        last = last.scatter_reduce(1, done.flatten(1), code[:, :, None].expand_as(done).flatten(1), "amin")
        return last.gather(1, asked.flatten(1)).view_as(asked).masked_fill(asked == 0, never).amin(2)

    def _after(self, code: Tensor, histories: Histories) -> Tensor:  # (2 or 3, B, C) -> (2 or 3, B, C, E)
        state, back = code % self._states, code // self._states
        gap, edges = back, self._edges
        if self.has_clock:
            newest, history = histories.newest[:, None], torch.arange(code.shape[1])[:, None]
            gap = histories.asked_at[history, newest] - histories.occurred_at[history, (newest - back).clamp(min=0)]
        long_ago = torch.bucketize(gap, edges, right=True).masked_fill(state == self._states - 1, 0)
        return self.after[torch.arange(len(code))[:, None, None], state, long_ago]

    @property
    def _states(self) -> int:
        return len(self.names) + 2

    @cached_property
    def _edges(self) -> Tensor:
        return torch.tensor(GAPS_S if self.has_clock else GAPS_STEPS)

    @cached_property
    def _num_interests(self) -> int:
        return int(self.interests.max())


def _usual_rows(counts: npt.NDArray[np.int64], usual: Shares) -> float:
    """With how many rows of the usual shares each group had best start, so that its rows foretell one another.

    Each row is foretold by the others of its group: Σ count · log((count − 1 + rows · usual) / (total − 1 + rows)).

    Args:
        counts: ``(groups, E)``.
        usual: ``(E,)``.
    """
    group, number = np.nonzero(counts)
    count, total = counts[group, number], counts.sum(1)[group]

    def foretold(rows: float) -> float:
        return float((count * np.log((count - 1 + rows * usual[number]) / (total - 1 + rows))).sum())

    best: float = max(USUAL_ROWS, key=foretold)
    return best


def _log_shares_after(
    train: Interactions,
    keys: npt.NDArray[np.integer],  # (R, any) what each row is of, 0 fills up
    number: Rows,  # (R,)
    usual: Shares,  # (E,)
    *,
    request_time: bool,
) -> Tensor:  # (S, G, E)
    """How often each type followed each state and gap, the state being that of the user's last row with a shared key.

    Args:
        train: R rows.
        keys: The item of each row, its interests, or the same of all.
        number: Of each row's type, E for any other.
        usual: Shares to start with.
        request_time: Gaps reach to the instant of the row itself, otherwise to that of the row before it.
    """
    types, row = len(usual), np.arange(len(train))
    before = _last_row_before(train.user_idx, keys)
    nothing = (before < 0) | (row - 1 - before >= HISTORY_ITEMS)
    state = np.where(nothing, types + 1, number[before])
    asked = row if request_time else row - 1
    clock = train.occurred_at
    gap, edges = (row - 1 - before, GAPS_STEPS) if clock is None else (clock[asked] - clock[before], GAPS_S)
    long_ago = np.where(nothing, 0, np.searchsorted(edges, gap, side="right"))
    counts = np.zeros((types + 2, len(edges) + 1, types))
    first = np.isin(row, train.starts[:-1])  # of a user: no request comes before it
    counted = (number < types) & ~first
    np.add.at(counts, (state[counted], long_ago[counted], number[counted]), 1)
    states = counts.sum(1)  # (S, E)
    by_state = (states + COARSER_ROWS * usual) / (states.sum(1, keepdims=True) + COARSER_ROWS)
    shares = (counts + COARSER_ROWS * by_state[:, None]) / (counts.sum(2, keepdims=True) + COARSER_ROWS)
    return torch.from_numpy(np.log(shares / usual)).float()


def _last_row_before(user_idx: npt.NDArray[np.integer], keys: npt.NDArray[np.integer]) -> Rows:  # (R,)
    """The user's newest earlier row with a key of this one; −1 where there is none."""
    rows, columns = np.nonzero(keys)
    key, user = keys[rows, columns], user_idx[rows]
    order = np.lexsort((rows, key, user))
    rows, key, user = rows[order], key[order], user[order]
    again = (key[1:] == key[:-1]) & (user[1:] == user[:-1])
    before = np.full(len(user_idx), -1)
    np.maximum.at(before, rows[1:][again], rows[:-1][again])
    return before
