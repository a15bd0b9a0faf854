"""What every history store does, asked of each of them."""

import random
import threading
import time

import pytest

from serving.refusals import UnavailableError
from serving.sqlite_histories import SqliteHistories
from serving.stored_events import Retention, StoredEvent, as_kept, content_id, fresh_id
from serving.user_key import UserKey
from tests.serving.redis_server import running_redis

KEY = UserKey(b"for tests")
NOW = int(time.time())
STORES = ("sqlite", "redis")


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with running_redis(tmp_path_factory.mktemp("redis"), "--appendonly", "yes") as (url, _):
        yield url


@pytest.fixture(params=STORES)
def open_store(request, tmp_path):
    """Opens the same store again and again."""
    opened = []

    def open_one(**limits):
        retention = Retention(**limits)
        if request.param == "sqlite":
            store = SqliteHistories(tmp_path / "histories.sqlite", key=KEY, retention=retention)
        else:
            from serving.redis_histories import RedisHistories, connect

            url = request.getfixturevalue("redis_url")
            if not opened:
                with connect(url) as client:
                    client.flushall()
            store = RedisHistories(url, key=KEY, retention=retention)
        opened.append(store)
        return store

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


def event(user_id="ann", event_id="1", item_id="tea", occurred_at=NOW, **more):
    return StoredEvent(user_id, event_id, item_id, occurred_at, **more)


def items(store, user_id="ann"):
    return [one.item_id for one in store.read(user_id).events]


def test_what_is_added_is_read_back_whole(store):
    told = [
        event(event_id="茶", item_id="红楼梦", event="view", value=0.5, lat=1.25, lon=-2.5),
        event(event_id="2", occurred_at=NOW + 1),
        event(event_id='"\\\n', item_id='"\\\n\x00', occurred_at=NOW + 2, event=""),
    ]
    assert store.add([told]) == [3]
    assert store.read("ann").events == told
    assert not store.read("ann").forgotten
    assert store.read("bob") == ([], False)


def test_the_same_event_counts_once_within_its_user(store):
    assert store.add([[event(item_id="tea"), event(item_id="ink"), event(event_id="2", item_id="pen")]]) == [2]
    assert store.add([[event(item_id="hat")], [event(user_id="bob", item_id="hat")]]) == [0, 1]
    assert items(store) == ["tea", "pen"]
    assert items(store, "bob") == ["hat"]


def test_order_is_by_time_and_then_by_arrival(store):
    """Ids that sort otherwise, times in disorder, thirteen of one second so that ten does not come before two."""
    names = [f"{number}" for number in range(13)]
    store.add([[event(event_id=f"z{99 - number}", item_id=name) for number, name in enumerate(names)]])
    store.add([[event(event_id="late", item_id="late", occurred_at=NOW + 5)]])
    store.add([[event(event_id="early", item_id="early", occurred_at=NOW - 5)]])
    assert items(store) == ["early", *names, "late"]


def test_no_more_than_the_newest_are_kept(open_store):
    store = open_store(max_events=3)
    store.add([[event(event_id=str(at), item_id=str(at), occurred_at=NOW + at) for at in (5, 1, 4, 2, 3)]])
    assert items(store) == ["3", "4", "5"]
    store.add(
        [[event(event_id="6", item_id="6", occurred_at=NOW), event(event_id="7", item_id="7", occurred_at=NOW + 9)]]
    )
    assert items(store) == ["4", "5", "7"]
    assert sum(map(len, store.everything())) == 3  # gone, not merely unseen
    # What was dropped for its age may come again, and is dropped again.
    store.add([[event(event_id="3", item_id="3", occurred_at=NOW + 3)]])
    assert items(store) == ["4", "5", "7"]


def test_of_one_second_the_last_to_arrive_are_the_newest(open_store):
    store = open_store(max_events=2)
    store.add([[event(event_id=name, item_id=name) for name in ("b", "a", "c")]])
    assert items(store) == ["a", "c"]


def test_what_is_too_old_is_neither_kept_nor_read(open_store):
    store = open_store(max_age_s=100_000)  # far more than the tests take since NOW
    store.add([[event(event_id="old", item_id="old", occurred_at=NOW - 200_000), event(event_id="new", item_id="new")]])
    assert items(store) == ["new"]
    forever = open_store()
    forever.add([[event(user_id="bob", event_id="old", item_id="old", occurred_at=NOW - 200_000)]])
    assert items(forever, "bob") == ["old"]
    assert items(store, "bob") == []  # unread before it is pruned
    assert store.prune(now=NOW) == 1
    assert items(forever, "bob") == []
    assert items(forever) == ["new"]
    assert forever.prune(now=NOW) == 0


def test_a_forgotten_user_has_nothing_and_is_known_to_be_forgotten(open_store):
    store = open_store()
    store.add([[event(event_id=str(number)) for number in range(3)] + [event(user_id="bob")]])
    assert store.forget("ann") == 3
    assert store.read("ann") == ([], True)
    assert store.read("bob").forgotten is False
    assert len(store.read("bob").events) == 1
    assert store.forget("ann") == 0
    assert store.forget("cyd") == 0  # of whom nothing was stored: the bundle may hold something
    again = open_store()
    assert again.forgotten(["ann", "bob", "cyd"]) == {"ann", "cyd"}
    # A new life begins, with ids that were used before, and the old one stays forgotten.
    assert again.add([[event(item_id="ink")]]) == [1]
    assert ([one.item_id for one in again.read("ann").events], again.read("ann").forgotten) == (["ink"], True)


def test_everything_comes_user_by_user_in_order(store):
    told = [event(user_id=f"u{at % 7}", event_id=str(at), item_id=str(at), occurred_at=NOW - at) for at in range(100)]
    store.add([told])
    parts = [one for part in store.everything() for one in part]
    assert sorted(parts) == sorted(told)
    users = [one.user_id for one in parts]
    assert len(set(users)) == sum(now != before for before, now in zip(["", *users], users, strict=False))
    for user_id in set(users):
        times = [one.occurred_at for one in parts if one.user_id == user_id]
        assert times == sorted(times)


def test_a_batch_that_fails_leaves_nothing(store):
    broken = event(event_id="2", occurred_at={})
    with pytest.raises(Exception, match=r".*"):
        store.add([[event()], [broken]])
    assert store.read("ann").events == []
    assert store.add([[event()]]) == [1]


def test_empty_batches_are_fine(store):
    assert store.add([]) == []
    assert store.add([[], [event()], []]) == [0, 1, 0]


def test_many_threads_and_two_openings_lose_and_double_nothing(open_store):
    """Eight writers, half of them through another opening, send overlapping events of shared users."""
    stores = [open_store(), open_store()]
    told = [
        event(user_id=f"u{at % 5}", event_id=str(at), item_id=str(at), occurred_at=NOW + at % 3) for at in range(200)
    ]
    new, failures = [], []

    def write(which):
        mine = told.copy()
        random.Random(which).shuffle(mine)
        try:
            for start in range(0, len(mine), 20):
                new.extend(stores[which % 2].add([mine[start : start + 20]]))
                stores[which % 2].read(f"u{which % 5}")
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=write, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sum(new) == 200
    assert sorted(one.event_id for part in stores[0].everything() for one in part) == sorted(map(str, range(200)))


def test_sqlite_keeps_no_byte_of_who_is_forgotten(tmp_path):
    """Neither in the pages nor in the log; a neighbour's bytes show that the search would find some."""
    store = SqliteHistories(tmp_path / "histories.sqlite", key=KEY, retention=Retention())
    for user_id in ("secret-ann", "honest-bob"):
        told = [event(user_id=user_id, event_id=f"{user_id}-{at}", item_id=f"item-of-{user_id}") for at in range(300)]
        store.add([told])

    def content():
        return b"".join(path.read_bytes() for path in sorted(tmp_path.iterdir()))

    assert b"secret-ann" in content()
    store.forget("secret-ann")
    assert b"secret-ann" not in content()
    assert b"honest-bob" in content()
    assert KEY.hash("secret-ann").encode() in content()
    store.close()


def test_a_locked_file_is_unavailable_and_then_works_again(tmp_path, monkeypatch):
    monkeypatch.setattr("serving.sqlite_file._BUSY_S", 0.05)
    store, other = (SqliteHistories(tmp_path / "h.sqlite", key=KEY, retention=Retention()) for _ in range(2))
    with other._file.transaction():
        with pytest.raises(UnavailableError, match=r"h\.sqlite: database is locked"):
            store.add([[event()]])
        assert store.read("ann").events == []  # readers do not wait
    assert store.add([[event()]]) == [1]
    store.close()
    other.close()


def test_a_server_that_is_gone_is_unavailable_at_once(tmp_path, monkeypatch):
    from serving import redis_histories

    with running_redis(tmp_path) as (url, _):
        store = redis_histories.RedisHistories(url, key=KEY, retention=Retention())
        store.add([[event()]])
    with pytest.raises(UnavailableError, match="Redis does not answer"):
        store.read("ann")
    started = time.perf_counter()
    for _ in range(100):
        with pytest.raises(UnavailableError, match="a moment ago"):
            store.read("ann")
    assert time.perf_counter() - started < 0.5
    monkeypatch.setattr(redis_histories, "_REST_S", 0.0)
    store.close()


def test_replicas_agree_on_a_key(redis_url):
    from serving.redis_histories import connect, shared_key

    client = connect(redis_url)
    client.flushall()
    assert shared_key(client).hash("ann") == shared_key(connect(redis_url)).hash("ann")
    client.close()


def test_redis_without_an_append_only_file_is_warned_about(tmp_path, caplog):
    from serving.redis_histories import RedisHistories

    with running_redis(tmp_path) as (url, _):
        RedisHistories(url, key=KEY, retention=Retention()).close()
    assert "Set appendonly yes" in caplog.text


def test_ids_made_of_content_tell_alike_from_unlike():
    one = content_id("tea", 5, "view", 1.0)
    assert one == content_id("tea", 5, "view", 1.0)
    others = [("ink", 5, "view", 1.0), ("tea", 6, "view", 1.0), ("tea", 5, None, 1.0), ("tea", 5, "view", None)]
    assert len({one, *(content_id(*other) for other in others)}) == 5
    assert fresh_id() != fresh_id()
    assert as_kept(0.1) == pytest.approx(0.1)
    assert as_kept(0.1) != 0.1
    assert as_kept(None) is None
