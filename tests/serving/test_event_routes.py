import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys.errors import InputError
from recsys.interactions import DAY_S
from serving.event_schemas import NewEvent, NewEvents
from serving.opening import open_service
from serving.schemas import RecommendRequest
from serving.settings import StateSettings
from serving.state import open_state, state_for
from serving.stored_events import Retention, StoredEvent
from tests.serving.asking import assert_problem, assert_same_items, ids, recommend, serving

LATER = 1_703_000_000
"""After everything in the bundle."""


@pytest.fixture
def client(shop, tmp_path):
    with serving(shop, tmp_path / "state") as client:
        yield client


def post(client, body):
    return client.post("/v1/events", json=body)


def told(client, body):
    response = post(client, body)
    assert response.status_code == 200, response.text
    return response.json()


def test_an_event_is_in_the_very_next_recommendation(client, service):
    assert recommend(client, user_id="newcomer")["path"] == "popular"
    for number in (4, 5):
        assert told(client, {"user_id": "newcomer", "item_id": f"shelf/0{number}"}) == {
            "received": 1,
            "new": 1,
            "warnings": [],
        }
        answer = recommend(client, user_id="newcomer", explain=True)
        assert answer["path"] == "personal"
        assert answer["warnings"] == []
        assert answer["items"][0]["reasons"]["followed"][0]["item_id"] == f"shelf/0{number}"
    assert not {"shelf/04", "shelf/05"} & set(ids(answer))
    alone = [{"item_id": "shelf/04"}, {"item_id": "shelf/05"}]
    asked = RecommendRequest.model_validate({"history": alone, "requested_at": answer["requested_at"]})
    assert ids(answer) == [item.item_id for item in service.recommend(asked).items]


def test_an_event_that_comes_twice_counts_once(client):
    event = {"user_id": "ann", "item_id": "shelf/04", "event_id": "a-1"}
    assert [told(client, event)["new"] for _ in range(3)] == [1, 0, 0]
    batch = {"events": [event, {**event, "event_id": "a-2"}, {**event, "user_id": "bob"}]}
    assert told(client, batch)["new"] == 2
    # Without an id, what is alike in everything and says when it happened is the same.
    dated = {"user_id": "ann", "item_id": "shelf/04", "occurred_at": LATER, "value": 0.1}
    assert told(client, {"events": [dated, dated, {**dated, "value": 0.2}]})["new"] == 2
    undated = {"user_id": "ann", "item_id": "shelf/04"}
    assert told(client, {"events": [undated, undated]})["new"] == 2


def test_a_stored_history_is_the_bundles_and_the_stores_together(client, service, bundle):
    user_id = "顾客7"
    history = bundle.interactions.item_idx[bundle.interactions.of_user(bundle.interactions.user_index(user_id))]
    new = [f"shelf/{number:02}" for number in (30, 31)]
    told(client, {"events": [{"user_id": user_id, "item_id": item_id, "occurred_at": LATER} for item_id in new]})
    answer = recommend(client, user_id=user_id, k=40, requested_at=LATER)
    events = [{"item_id": item_id, "occurred_at": LATER} for item_id in new]
    asked = RecommendRequest.model_validate({"user_id": user_id, "history": events, "k": 40, "requested_at": LATER})
    assert ids(answer) == [item.item_id for item in service.recommend(asked).items]
    assert not {*new, *(bundle.catalogue.item_ids[idx] for idx in history)} & set(ids(answer))


def test_what_the_bundle_holds_and_is_told_again_counts_once(client, service, bundle):
    """A shop that sends its whole log again, from the first day on, must change nothing."""
    interactions = bundle.interactions
    rows = range(*interactions.of_user(interactions.user_index("顾客5")).indices(len(interactions)))
    again = [
        {
            "user_id": "顾客5",
            "item_id": bundle.catalogue.item_ids[interactions.item_idx[row]],
            "occurred_at": int(interactions.occurred_at[row]),
            "event": interactions.event_names[interactions.event[row]],
            "value": float(interactions.value[row]),
        }
        for row in rows
    ]
    assert told(client, {"events": again})["new"] == len(again)
    for instant in (LATER, again[-1]["occurred_at"], again[3]["occurred_at"]):
        asked = {"user_id": "顾客5", "requested_at": instant, "k": 40}
        expected = service.recommend(RecommendRequest.model_validate(asked))
        assert_same_items(recommend(client, **asked)["items"], expected.items)


def test_events_count_from_when_they_happened(client):
    told(client, {"user_id": "ann", "item_id": "shelf/04", "occurred_at": LATER})
    assert recommend(client, user_id="ann", requested_at=LATER - 1)["path"] == "popular"
    assert recommend(client, user_id="ann", requested_at=LATER)["path"] == "personal"


def test_a_sender_whose_clock_is_ahead_is_believed_for_a_day(client):
    told(client, {"user_id": "ann", "item_id": "shelf/04", "occurred_at": int(time.time()) + 3_600})
    assert recommend(client, user_id="ann")["path"] == "personal"
    place = {"user_id": "ann", "item_id": "shelf/04", "occurred_at": int(time.time()) + DAY_S + 60}
    problem = assert_problem(post(client, place), 422)
    assert problem["errors"][0]["pointer"] == "#/occurred_at"
    assert "More than a day in the future (given: " in problem["errors"][0]["detail"]
    problem = assert_problem(post(client, {"events": [{"user_id": "ann", "item_id": "shelf/05"}, place]}), 422)
    assert problem["errors"][0]["pointer"] == "#/events/1/occurred_at"
    assert len(ids(recommend(client, user_id="ann", k=40))) == 39  # the good one of a bad batch was not kept


def test_an_unknown_item_is_kept_and_said(client):
    answer = told(client, {"user_id": "ann", "item_id": "not yet"})
    assert answer["new"] == 1
    assert answer["warnings"] == ["item_id: the catalogue does not hold 'not yet'; kept for when it does."]
    answer = recommend(client, user_id="ann")
    assert answer["path"] == "popular"
    assert answer["warnings"] == ["stored events: left out, the catalogue does not hold 'not yet'."]


@pytest.mark.parametrize(
    ("body", "pointer", "words"),
    [
        ({"item_id": "a"}, "#/user_id", "required"),
        ({"user_id": "a", "item_id": ""}, "#/item_id", "at least 1 character"),
        (
            {"user_id": "a", "item_id": "b", "occurred_at": 1_700_000_000_000},
            "#/occurred_at",
            "looks like milliseconds",
        ),
        ({"user_id": "a", "item_id": "b", "wish": 1}, "#/wish", "no such field"),
        ({"user_id": "a", "item_id": "b", "lat": 1.0}, "#", "both lat and lon"),
        ({"user_id": "a", "item_id": "b", "lat": 91.0, "lon": 0.0}, "#/lat", "less than or equal to 90"),
        ({"events": []}, "#/events", "at least 1 item"),
        ({"events": [{"user_id": "a", "item_id": "b"}, {"user_id": "a"}]}, "#/events/1/item_id", "required"),
        ({"events": [{"user_id": "a", "item_id": "b"}] * 10_001}, "#/events", "at most 10000 items"),
        ([], "#", "valid dictionary"),
    ],
)
def test_a_bad_event_names_place_and_value(client, body, pointer, words):
    (fault,) = assert_problem(post(client, body), 422)["errors"]
    assert fault["pointer"] == pointer
    assert words in fault["detail"]


def test_a_deleted_user_leaves_no_trace_and_is_answered_as_a_stranger(shop, tmp_path, service, caplog):
    caplog.set_level(logging.DEBUG)
    user_id = "顾客7"
    with serving(shop, tmp_path / "state") as client:
        told(client, {"events": [{"user_id": user_id, "item_id": f"shelf/{number:02}"} for number in range(3)]})
        assert client.delete(f"/v1/users/{user_id}").json() == {"events_removed": 3}
        answer = recommend(client, user_id=user_id)
        assert answer["path"] == "popular"  # not even what the bundle holds
        assert recommend(client, user_id="顾客8")["path"] == "personal"
        assert client.delete("/v1/users/never-seen").json() == {"events_removed": 0}
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert user_id.encode() not in kept
    assert user_id not in caplog.text
    with serving(shop, tmp_path / "state") as client:  # nor after a restart
        assert recommend(client, user_id=user_id)["path"] == "popular"
        told(client, {"user_id": user_id, "item_id": "shelf/30"})
        answer = recommend(client, user_id=user_id, explain=True)
        assert answer["path"] == "personal"
        carriers = {one["item_id"] for item in answer["items"] for one in item["reasons"]["alike"]}
        assert carriers == {"shelf/30"}  # the new life alone


@pytest.mark.parametrize(
    ("name", "in_address"), [("a/b c", "a%2Fb%20c"), ("two\nlines", "two%0Alines"), ("end\n", "end%0A")]
)
def test_any_name_can_be_deleted(client, name, in_address):
    told(client, {"user_id": name, "item_id": "shelf/01"})
    assert client.delete(f"/v1/users/{in_address}").json() == {"events_removed": 1}


def test_retention_is_told_and_kept(shop, tmp_path):
    kept = Retention(max_age_s=1_000)
    now = int(time.time())
    with serving(shop, tmp_path / "state", retention=kept) as client:
        events = [{"user_id": "ann", "item_id": "shelf/01", "occurred_at": now - age} for age in (0, 2_000)]
        answer = told(client, {"events": events})
        assert answer["warnings"] == ["occurred_at: 1 older than the 1000 seconds that are kept, and so not kept."]
        assert len(ids(recommend(client, user_id="ann", k=40))) == 39


def test_what_is_too_old_goes_by_itself_where_nobody_writes(tmp_path):
    now = int(time.time())
    forever = open_state(tmp_path)
    forever.histories.add([[StoredEvent("ann", str(age), "tea", now - age) for age in (0, 2_000)]])
    forever.close()
    state = open_state(tmp_path, retention=Retention(max_age_s=1_000))
    for _ in range(500):
        if state.pruned_at is not None:
            break
        time.sleep(0.01)
    state.close()
    forever = open_state(tmp_path)
    assert [event.event_id for event in forever.histories.read("ann").events] == ["0"]
    forever.close()


def test_a_damaged_store_is_said_by_name(tmp_path):
    (tmp_path / "histories.sqlite").write_bytes(b"no database at all" * 1_000)
    with pytest.raises(InputError, match=r"histories\.sqlite: file is not a database"):
        state_for(tmp_path / "films", StateSettings(folder=tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"state\.folder, .*file"):
        state_for(tmp_path / "films", StateSettings(folder=tmp_path / "file"))


def test_a_state_that_keeps_less_than_the_model_reads_is_refused(shop, tmp_path):
    state = open_state(tmp_path / "state", retention=Retention(max_events=199))
    with pytest.raises(ValueError, match="reads 200 events of a user, and the state keeps 199"):
        open_service(shop, state=state)
    state.close()


def test_a_store_that_is_down_is_told_and_nobody_is_answered_from_what_may_be_deleted(shop, tmp_path, monkeypatch):
    from serving.refusals import UnavailableError
    from serving.sqlite_histories import SqliteHistories

    def down(self, *arguments):
        raise UnavailableError("histories.sqlite: disk I/O error.")

    with serving(shop, tmp_path / "state") as client:
        monkeypatch.setattr(SqliteHistories, "read", down)
        monkeypatch.setattr(SqliteHistories, "add", down)
        monkeypatch.setattr(SqliteHistories, "forget", down)
        answer = recommend(client, user_id="顾客7")
        assert answer["path"] == "popular"
        assert "user_id: what is stored cannot be read now" in answer["warnings"][0]
        for response in (post(client, {"user_id": "a", "item_id": "b"}), client.delete("/v1/users/a")):
            problem = assert_problem(response, 503)
            assert problem["type"] == "urn:problem-type:recsys:unavailable"
            assert problem["detail"] == "histories.sqlite: disk I/O error."
            assert response.headers["retry-after"] == "1"


def test_many_writers_at_once_are_each_told_their_own_count(client):
    """Sixteen callers whose events share commits; two of three of each are new."""

    def write(number):
        mine = {"user_id": f"u{number}", "item_id": "shelf/01"}
        body = {"events": [{**mine, "event_id": name} for name in ("x", "y", "x")]}
        return [told(client, body)["new"] for _ in range(3)]

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(write, range(64))) == [[2, 0, 0]] * 64


def test_the_description_has_valid_examples_and_says_what_fields_mean(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for name, model in (("NewEvent", NewEvent), ("NewEvents", NewEvents)):
        assert all(model.model_validate_json(json.dumps(example)) for example in schemas[name]["examples"])
    for name in ("NewEvent", "NewEvents", "EventsAnswer", "UserDeleted"):
        assert all(field.get("description") for field in schemas[name]["properties"].values()), name
