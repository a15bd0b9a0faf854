"""What speaks for an event type: each share by hand or by a slow loop, and none of it from the future."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from recsys.catalogue import read_catalogue
from recsys.event_evidence import BASE_RATES, COARSER_ROWS, EventEvidence, types_told_apart
from recsys.histories import Histories, case_histories
from recsys.interactions import DAY_S, read_interactions
from recsys.split import leave_one_out
from tests.worlds import intent_world

START = 1_600_000_000
ROWS = [
    ("u", "a", 0, "view"),
    ("u", "a", 0.5, "buy"),
    ("u", "b", 3, "view"),
    ("v", "a", 1, "view"),
    ("v", "b", 1.02, "view"),
    ("v", "a", 1.5, "buy"),
    ("v", "c", 9, "wish"),
]
VIEW, BUY, OTHER, NOTHING = range(4)
BASE, USUAL, ITEM, USER, BENT, AFTER_ITEM, AFTER_INTEREST, AFTER_ANYTHING = range(8)
INTERESTS = torch.tensor([[0, 0], [1, 0], [2, 1], [0, 0], [0, 0]])
"""Of nothing, a, b, c and d: b shares an interest with a."""


@pytest.fixture
def train():
    rows = [(user, item, START + int(day * DAY_S), event) for user, item, day, event in ROWS]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "occurred_at", "event"], orient="row")
    catalogue, _ = read_catalogue(pl.DataFrame({"item_id": list("abcd")}))
    interactions, _, _ = read_interactions(table, catalogue)
    assert interactions.event_names == ["view", "buy", "wish"]
    return interactions


def history(item_idx, events, *, days, asked):
    """One history."""
    occurred_at = START + (torch.tensor([days]) * DAY_S).long()
    asked_at = torch.roll(occurred_at, -1, 1)
    asked_at[:, -1] = START + int(asked * DAY_S)
    return Histories(
        torch.tensor([item_idx]), torch.tensor([events]), torch.zeros(1, len(item_idx)), occurred_at, asked_at
    )


def measured(evidence, candidates, told, *, speaks=0):
    """(C, E, K) for one history, nothing else being known of the candidates."""
    candidates = torch.tensor([candidates])
    found = evidence.measure(torch.zeros(*candidates.shape, speaks), candidates, told)[0]
    assert torch.isfinite(found).all()
    return found


def test_the_shares_of_an_item_are_those_before_the_request(train):
    evidence = EventEvidence.of(train, ("view", "buy"), INTERESTS, request_time=True)
    rows, _ = evidence.usual_rows
    found = measured(evidence, [1, 4, 9], history([2], [VIEW], days=[1.1], asked=1.2))
    # Of a by day 1.2: two views and a buy; the second buy is still to come. Of all rows four are views and two buys.
    shares = [(2 + rows * 4 / 6) / (3 + rows), (1 + rows * 2 / 6) / (3 + rows)]
    assert found[0, :, ITEM].exp().tolist() == pytest.approx([shares[0] * 6 / 4, shares[1] * 6 / 2])
    assert found[1:, :, ITEM].tolist() == [[0, 0], [0, 0]]  # nobody had d, and 9 came after training
    assert found[:, :, USUAL].exp().tolist() == pytest.approx(np.tile([4 / 6, 2 / 6], (3, 1)))


def test_the_shares_of_a_user_are_those_of_the_history(train):
    evidence = EventEvidence.of(train, ("view", "buy"), INTERESTS, request_time=True)
    _, rows = evidence.usual_rows
    told = history([2, 3, 1, 0], [BUY, OTHER, BUY, 0], days=[1.0, 2.0, 3.0, 0.0], asked=4.0)
    found = measured(evidence, [4], told)
    expected = [rows * 4 / 6 / (2 + rows), (2 + rows * 2 / 6) / (2 + rows)]
    assert found[0, :, USER].exp().tolist() == pytest.approx([expected[0] * 6 / 4, expected[1] * 6 / 2])
    np.testing.assert_allclose(found[..., BASE], found[..., [USUAL, ITEM, USER]].sum(-1), atol=1e-6)
    assert BASE_RATES == 1


def test_a_user_s_bent_is_what_their_items_do_not_account_for(train):
    evidence = EventEvidence.of(train, ("view", "buy"), INTERESTS, request_time=True)
    told = history([1, 4, 3, 0], [BUY, BUY, OTHER, 0], days=[1.0, 2.0, 3.0, 0.0], asked=1.2)
    rows, _ = evidence.usual_rows
    found = measured(evidence, [2], told)[0, :, BENT]
    bought = (1 + rows * 2 / 6) / (3 + rows)  # of what was done with a by day 1.2; nobody had d
    more = 2 - bought - 2 / 6
    assert found.tolist() == pytest.approx([-more / math.sqrt(2 + 4), more / math.sqrt(2 + 4)], abs=1e-6)


def test_what_follows_what_was_done_with_the_candidate_and_how_long_ago(train):
    evidence = EventEvidence.of(train, ("view", "buy"), INTERESTS, request_time=True)
    told = history([1, 3], [VIEW, OTHER], days=[5.0, 5.2], asked=5.5)
    found = measured(evidence, [1, 2, 3], told)[..., [AFTER_ITEM, AFTER_INTEREST, AFTER_ANYTHING]]
    # Twice a view of a thing was followed by its buying, half a day later.
    after_a_view = (2 + COARSER_ROWS / 3) / (2 + COARSER_ROWS)
    within_a_day = (2 + COARSER_ROWS * after_a_view) / (2 + COARSER_ROWS)
    assert math.exp(found[0, BUY, 0]) == pytest.approx(within_a_day * 3)
    # After nothing, twice a view.
    never = (2 + COARSER_ROWS * (2 + COARSER_ROWS * 2 / 3) / (2 + COARSER_ROWS)) / (2 + COARSER_ROWS)
    assert math.exp(found[1, VIEW, 0]) == pytest.approx(never * 6 / 4)
    # b is of an interest that a has, c of none: what was done with a was done with b's interest.
    assert torch.equal(found[1, :, 1], found[0, :, 1])
    assert not torch.equal(found[2, :, 1], found[0, :, 1])
    assert not torch.equal(found[2, :, 0], found[1, :, 0])  # something was done with c, if nothing that has a name
    assert torch.equal(found[0, :, 2], found[2, :, 2])


def test_exactly_a_day_is_no_longer_within_a_day(train):
    evidence = EventEvidence.of(train, ("view", "buy"), INTERESTS, request_time=True)
    for asked, gap in ((5.999, 1), (6.0, 2)):
        found = measured(evidence, [1], history([1], [VIEW], days=[5.0], asked=asked))
        assert torch.equal(found[0, :, AFTER_ITEM], evidence.after[0, VIEW, gap])


def test_which_type_it_is_and_what_speaks_for_the_candidate_come_last(train):
    evidence = EventEvidence.of(train, ("view", "buy"), INTERESTS, request_time=True)
    candidates, speaks = torch.tensor([[1, 2]]), torch.tensor([[[5.0, 6.0, 7.0], [8.0, 9.0, 10.0]]])
    found = evidence.measure(speaks, candidates, history([1], [VIEW], days=[5.0], asked=6.0))
    assert found.shape == (1, 2, 2, 8 + 2 + 3)
    assert found[0, 1, :, 8:].tolist() == [[1, 0, 8, 9, 10], [0, 1, 8, 9, 10]]


@pytest.fixture(scope="module")
def world():
    interactions, catalogue, _ = intent_world(users=80, events=9)
    interests = (torch.arange(len(catalogue) + 1) % 4)[:, None]
    interests[0] = 0
    return interactions, leave_one_out(interactions), interests


GAPS = (3_600, DAY_S, 7 * DAY_S)


def slow_state(item_idx, event, occurred_at, asked_at, wanted, *, gaps=GAPS):
    """The last event with something wanted, and how long ago: one by one."""
    for item, what, when in zip(item_idx[::-1], event[::-1], occurred_at[::-1], strict=True):
        if wanted(item):
            return int(what), sum(asked_at - when >= gap for gap in gaps)
    return 4, 0


@pytest.mark.parametrize("request_time", [True, False])
def test_states_and_gaps_as_by_a_slow_loop(world, request_time):
    interactions, split, interests = world
    names = tuple(interactions.event_names)
    evidence = EventEvidence.of(split.train, names, interests, request_time=request_time)
    cases = split.validation[::9]
    histories = case_histories(interactions, cases, length=50, request_time=request_time)
    candidates = torch.arange(1, 31).expand(len(cases), -1)
    found = evidence.measure(torch.zeros(*candidates.shape, 0), candidates, histories)
    for case in range(len(cases)):
        rows = slice(cases.starts[case], cases.stops[case])
        columns = (interactions.item_idx, interactions.event, interactions.occurred_at)
        past = [column[rows].tolist() for column in columns]
        asked_at = cases.requested_at[case] if request_time else past[2][-1]
        for candidate in range(1, 31):
            states = [
                slow_state(*past, asked_at, lambda item, wanted=candidate: item == wanted),
                slow_state(*past, asked_at, lambda item, of=candidate: item % 4 == of % 4 and of % 4 > 0),
                slow_state(*past, asked_at, lambda item: True),
            ]
            for source, (state, gap) in enumerate(states):
                expected = evidence.after[source, state, gap]
                assert torch.equal(found[case, candidate - 1, :, AFTER_ITEM + source], expected)


@pytest.mark.parametrize("told", ["the instant", "the newest event's instant", "no clock"])
def test_what_follows_a_state_is_counted_as_by_a_slow_loop(world, told):
    interactions, split, interests = world
    train, names = split.train, tuple(interactions.event_names)
    clock, gaps = train.occurred_at, GAPS
    if told == "no clock":
        clock, gaps = np.arange(len(train)), (1, 4, 16)
    counts = np.zeros((5, 4, 3))
    for user in range(len(train.user_ids)):
        rows = range(train.starts[user], train.starts[user + 1])
        for row in rows[1:]:
            past = [column[rows[0] : row] for column in (train.item_idx, train.event, clock)]
            asked_at = clock[row] if told == "the instant" else clock[row - 1]
            wanted = train.item_idx[row]
            state, gap = slow_state(*past, asked_at, lambda item, wanted=wanted: item == wanted, gaps=gaps)
            counts[state, gap, train.event[row]] += 1
    usual = np.bincount(train.event) / len(train)
    states = (counts.sum(1) + COARSER_ROWS * usual) / (counts.sum((1, 2)) + COARSER_ROWS)[:, None]
    shares = (counts + COARSER_ROWS * states[:, None]) / (counts.sum(2, keepdims=True) + COARSER_ROWS)
    read = replace(train, occurred_at=None) if told == "no clock" else train
    evidence = EventEvidence.of(read, names, interests, request_time=told == "the instant")
    np.testing.assert_allclose(evidence.after[0], np.log(shares / usual), atol=1e-5)


def test_no_event_at_or_after_the_request_is_read(world):
    """Whatever others do from the request on, the case is told the same."""
    interactions, split, interests = world
    names = tuple(interactions.event_names)
    evidence = EventEvidence.of(split.train, names, interests, request_time=True)
    candidates, changed = torch.arange(1, 31)[None], 0
    for at in range(0, len(split.validation), 7):
        case = split.validation[at : at + 1]
        told = case_histories(interactions, case, length=50, request_time=True)
        late = split.train.occurred_at >= case.requested_at[0]
        otherwise = replace(split.train, event=np.where(late, (split.train.event + 1) % 3, split.train.event))
        forged = replace(evidence, with_item=EventEvidence.of(otherwise, names, interests, request_time=True).with_item)
        nothing = torch.zeros(1, 30, 0)
        honest, other = (one.measure(nothing, candidates, told) for one in (evidence, forged))
        assert torch.equal(honest, other)
        much_later = replace(told, asked_at=told.asked_at + 10_000 * DAY_S)
        changed += not torch.equal(evidence.measure(nothing, candidates, much_later)[..., ITEM], honest[..., ITEM])
    assert changed > 5  # and it does matter what is read


def test_without_a_clock_gaps_are_events(world):
    interactions, _, interests = world
    split = leave_one_out(replace(interactions, occurred_at=None))
    names = tuple(interactions.event_names)
    evidence = EventEvidence.of(split.train, names, interests, request_time=False)
    told = case_histories(split.interactions, split.test[:1], length=50)
    newest = int(told.item_idx[0, int(told.newest)])
    found = measured(evidence, [newest], told)
    assert torch.equal(found[0, :, AFTER_ITEM], evidence.after[0, int(told.event[0, int(told.newest)]), 0])
    counts = np.bincount(split.train.event[split.train.item_idx == newest], minlength=3)
    rows, usual = evidence.usual_rows[0], np.bincount(split.train.event) / len(split.train)
    expected = (counts + rows * usual) / (counts.sum() + rows) / usual
    np.testing.assert_allclose(found[0, :, ITEM].exp(), expected, rtol=1e-5)


def test_items_that_tell_event_types_apart_start_with_fewer_usual_rows(world):
    interactions, split, interests = world
    names = tuple(interactions.event_names)
    chance = replace(split.train, event=np.random.default_rng(0).permutation(split.train.event))
    told, drawn = (
        EventEvidence.of(table, names, interests, request_time=True).usual_rows for table in (split.train, chance)
    )
    assert told[0] < 100 < drawn[0]
    assert told[1] < drawn[1]


def test_types_too_rare_to_learn_from_have_no_head(world):
    interactions, split, _ = world
    assert types_told_apart(split.train, split.validation, interactions) == ()
    many, _, _ = intent_world(users=400, events=5)
    split = leave_one_out(many)
    assert set(types_told_apart(split.train, split.validation, many)) == {"view", "cart", "buy"}
    renamed = replace(many, event_names=["", *many.event_names[1:]])
    assert types_told_apart(split.train, split.validation, renamed) == tuple(many.event_names[1:])
    assert types_told_apart(split.train, split.validation[:0], many) == ()
    one = replace(many, event=np.zeros_like(many.event))
    assert types_told_apart(leave_one_out(one).train, leave_one_out(one).validation, one) == ()


def test_there_and_back(world):
    interactions, split, interests = world
    evidence = EventEvidence.of(split.train, tuple(interactions.event_names), interests, request_time=True)
    again = EventEvidence.from_tensors(evidence.tensors(), evidence.facts(), interests)
    told = case_histories(interactions, split.test[:20], length=50, request_time=True)
    candidates = torch.arange(1, 31).expand(20, -1)
    one, other = (each.measure(torch.ones(20, 30, 2), candidates, told) for each in (evidence, again))
    assert torch.equal(one, other)
