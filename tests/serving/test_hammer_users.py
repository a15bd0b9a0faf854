"""Thousands of users at once, each with a secret of their own: nothing of one is ever in another's answer."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.serving.asking import ids, recommend, serving

SHELF = [f"shelf/{number:02}" for number in range(40)]
LATER = 1_703_000_000


def secrets_of(user, rng):
    """Three things this user has, and no other has these three in this order."""
    return rng.sample(SHELF, 3) if user % 7 else [*rng.sample(SHELF, 2), "not in the catalogue"]


def told(item_id, step):
    return {"item_id": item_id, "occurred_at": LATER + step}


def live(client, user, seed):
    """One user's life: tell, ask, ask with a history that is not stored, ask in a batch, perhaps be forgotten.

    Returns what was wrong.
    """
    rng = random.Random(f"{seed} {user}")
    name, mine, wrong = f"user {user}", secrets_of(user, rng), []
    held = set()
    for step, item_id in enumerate(mine):
        event = {"user_id": name, "event_id": f"everyone's {step}", **told(item_id, step)}
        answer = client.post("/v1/events", json=event).json()
        held.add(item_id)
        if answer["new"] != 1:
            wrong.append(("not new", name, answer))
        wrong += check(client, name, held, {"user_id": name})
    other = rng.choice([item_id for item_id in SHELF if item_id not in held])
    wrong += check(client, name, held | {other}, {"user_id": name, "history": [{"item_id": other}]})
    wrong += check(client, name, {other}, {"history": [{"item_id": other}]})
    wrong += check(client, name, held, {"user_id": name})  # what was told with the request has left no trace
    now = {"requested_at": LATER + 9}
    mine_now, stranger_now = asked({"user_id": name, **now}), asked({"user_id": f"stranger {user}", **now})
    batch = {"requests": [mine_now, stranger_now, mine_now]}
    first, stranger, last = client.post("/v1/recommend/batch", json=batch).json()["answers"]
    if scores(first) != pytest.approx(scores(last), abs=1e-4):
        wrong.append(("twice", name, first, last))
    if stranger["path"] != "popular" or set(SHELF) - set(ids(stranger)):
        wrong.append(("batch", name, ids(stranger)))
    if user % 5 == 0:
        if client.delete(f"/v1/users/{name}").json() != {"events_removed": len(held)}:
            wrong.append(("deleted", name))
        if recommend(client, **asked({"user_id": name}))["path"] != "popular":
            wrong.append(("remembered", name))
    return wrong


def scores(answer):
    """Two passes through the model may differ by rounding."""
    return {item["item_id"]: item["score"] for item in answer["items"]}


def asked(request):
    return {**request, "k": 40, "explain": True}


def check(client, name, held, request):
    """All but what this user holds is offered, and every reason is something they hold."""
    answer = recommend(client, **asked(request))
    known = {item_id for item_id in held if item_id in SHELF}
    named = {
        one["item_id"]
        for item in answer["items"]
        for kind in ("carried", "followed", "alike")
        for one in item["reasons"][kind]
    }
    wrong = []
    if set(ids(answer)) != set(SHELF) - known:
        wrong.append(("offered", name, held, ids(answer)))
    if not named <= known:
        wrong.append(("named", name, held, named))
    others = [warning for warning in answer["warnings"] if "'user" in warning and name not in warning]
    return wrong + [("warned", name, others)] * bool(others)


@pytest.mark.parametrize(("users", "callers"), [(24, 12), pytest.param(2_000, 64, marks=pytest.mark.slow)])
def test_nothing_of_one_user_is_in_anothers_answer(shop, tmp_path, record_testsuite_property, users, callers):
    with serving(shop, tmp_path / "state") as client, ThreadPoolExecutor(callers) as pool:
        wrong = [one for many in pool.map(lambda user: live(client, user, 0), range(users)) for one in many]
        assert not wrong[:3]
        for user in range(1, users, max(1, users // 20)):  # at rest, each is answered as if they had been alone
            if user % 5:
                mine = [
                    told(item_id, step) for step, item_id in enumerate(secrets_of(user, random.Random(f"0 {user}")))
                ]
                stored = recommend(client, user_id=f"user {user}", requested_at=LATER + 9)
                alone = recommend(client, history=mine, requested_at=LATER + 9)
                assert ids(stored) == ids(alone)
    record_testsuite_property("users", users)
