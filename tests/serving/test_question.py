import dataclasses

import numpy as np
import pytest

from serving.question import NOTHING, read_question
from serving.schemas import HistoryEvent, RecommendRequest

NOW = 1_790_000_000


def ask(service, *, bundle=None, kept=NOTHING, **request):
    request["history"] = [HistoryEvent(**event) for event in request.get("history", [])]
    asked = RecommendRequest(**request)
    return read_question(asked, bundle or service.bundle, service.items, kept, usual_event=0, now=NOW)


def names(bundle, question):
    return [bundle.catalogue.item_ids[idx] for idx in question.history.item_idx]


def test_without_an_instant_it_is_now(service):
    question = ask(service, history=[{"item_id": "shelf/01"}])
    assert question.requested_at == NOW
    assert question.history.occurred_at.tolist() == [NOW]


def test_a_caller_whose_clock_is_ahead_is_not_in_the_future(service, bundle):
    question = ask(service, history=[{"item_id": "shelf/01", "occurred_at": NOW + 5}, {"item_id": "shelf/02"}])
    assert question.requested_at == NOW + 5
    assert names(bundle, question) == ["shelf/01", "shelf/02"]
    assert question.warnings == []


def test_what_happened_days_ahead_or_after_a_given_instant_is_left_out_and_named(service, bundle):
    later = [{"item_id": "shelf/01", "occurred_at": NOW + 100_000}, {"item_id": "shelf/02", "occurred_at": NOW}]
    question = ask(service, history=later)
    assert (question.requested_at, names(bundle, question)) == (NOW, ["shelf/02"])
    assert question.warnings == ["history: left out, later than the request: 'shelf/01'."]
    question = ask(service, history=later, requested_at=NOW - 1)
    assert (question.requested_at, names(bundle, question)) == (NOW - 1, [])
    assert question.warnings == ["history: left out, later than the request: 'shelf/01', 'shelf/02'."]


def test_unknown_items_are_left_out_and_named_but_not_all_of_them(service, bundle):
    told = [{"item_id": f"new {number}"} for number in (1, 2, 1, 3, 4, 5, 6, 7)]
    question = ask(service, history=[*told, {"item_id": "shelf/03"}])
    assert names(bundle, question) == ["shelf/03"]
    assert question.warnings == [
        "history: left out, the catalogue does not hold 'new 1', 'new 2', 'new 3', 'new 4', 'new 5' and 2 more."
    ]


def test_kinds_of_event_are_looked_up_and_unknown_ones_said(service, bundle):
    told = [{"item_id": "shelf/01", "event": kind} for kind in ("buy", None, "wish", "view")]
    question = ask(service, history=told)
    assert [bundle.interactions.event_names[kind] for kind in question.history.event] == ["buy", "view", "view", "view"]
    assert question.warnings == ["history: 'wish' read as an ordinary event; the bundle knows view, buy."]


def test_a_value_is_kept_and_a_missing_one_unknown(service):
    question = ask(service, history=[{"item_id": "shelf/01", "value": 2.5}, {"item_id": "shelf/02"}])
    assert question.history.value[0] == 2.5
    assert np.isnan(question.history.value[1])


def test_the_path_says_what_the_answer_can_rest_on(service, bundle):
    some = [{"item_id": "shelf/01"}]
    assert ask(service, user_id="顾客3").path == "personal"
    assert ask(service, user_id="顾客3", history=some).path == "personal"
    assert ask(service, user_id="顾客3", history=some, requested_at=5).path == "history"
    assert ask(service, user_id="nobody", history=some).path == "history"
    assert ask(service, history=[{"item_id": "new"}]).path == "popular"
    assert ask(service).path == "popular"
    assert ask(service, user_id="nobody").warnings == ["user_id: nothing is stored of 'nobody'."]


def test_seen_is_all_of_the_history_once(service, bundle):
    mine = bundle.interactions.of_user(bundle.interactions.user_index("顾客3"))
    stored = bundle.interactions.item_idx[mine].tolist()
    new = next(idx for idx in range(1, 41) if idx not in stored)
    told = [{"item_id": bundle.catalogue.item_ids[idx]} for idx in (new, stored[0])]
    question = ask(service, user_id="顾客3", history=told)
    assert question.seen(True).tolist() == sorted({*stored, new})


@pytest.mark.parametrize("request_time", [True, False])
def test_the_model_is_told_the_instant_only_if_it_was_trained_to_know_it(service, bundle, request_time):
    tower = bundle.config.user_tower.model_copy(update={"request_time": request_time, "history_length": 2})
    config = bundle.config.model_copy(update={"user_tower": tower})
    told = [{"item_id": f"shelf/0{number}", "occurred_at": 100 * number} for number in (1, 2, 3)]
    histories = ask(service, history=told, requested_at=1_000).histories(dataclasses.replace(bundle, config=config))
    assert histories.occurred_at.tolist() == [[200, 300]]
    assert histories.asked_at.tolist() == ([[300, 1_000]] if request_time else [[200, 300]])
