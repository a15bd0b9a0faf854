"""Histories in Redis: where several replicas of the service share them.

Three keys for each user: the events in order of time, the ids of those events, and how many have ever arrived. What is
acknowledged is as safe as the server's appendfsync makes it: ``appendonly yes`` and ``appendfsync always`` lose
nothing, ``everysec`` may lose the last second when the server's machine dies.
"""

import json
import logging
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from serving.refusals import UnavailableError
from serving.stored_events import Retention, StoredEvent, UserEvents
from serving.user_key import UserKey

PREFIX = "recsys"
_READ_S = 0.25
"""How long a recommendation waits for the server; then it does without."""
_WRITE_S = 10.0
_REST_S = 1.0
"""After a failure nobody asks the server for so long: a request must not wait for what is known to be down."""
_USERS_AT_ONCE = 500
_ARRIVAL_DIGITS = 16

# A member of the order is its number of arrival, padded so that those of one instant sort by it, and the event as JSON.
_ADD = """
local order, ids, arrivals = KEYS[1], KEYS[2], KEYS[3]
local most, horizon, expires = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local new = 0
for at = 4, #ARGV, 3 do
    if redis.call('SADD', ids, ARGV[at]) == 1 then
        local arrival = string.format('%016d', redis.call('INCR', arrivals))
        redis.call('ZADD', order, ARGV[at + 1], arrival .. ARGV[at + 2])
        new = new + 1
    end
end
local gone = redis.call('ZRANGE', order, 0, -(most + 1))
for _, member in ipairs(redis.call('ZRANGE', order, '-inf', '(' .. horizon, 'BYSCORE')) do
    gone[#gone + 1] = member
end
for _, member in ipairs(gone) do
    redis.call('ZREM', order, member)
    redis.call('SREM', ids, cjson.decode(string.sub(member, 17))[1])
end
if expires > 0 then
    for _, key in ipairs(KEYS) do redis.call('EXPIREAT', key, expires) end
end
return new
"""

logger = logging.getLogger(__name__)


def connect(url: str, *, timeout_s: float = _WRITE_S) -> "redis.Redis":
    """A client of the server at ``redis://…``; nothing is sent yet."""
    return redis.Redis.from_url(
        url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 1)
    )


def shared_key(client: "redis.Redis") -> UserKey:
    """The key that all replicas use, kept in the server, made by whoever asks first.

    Raises:
        UnavailableError: The server does not answer.
    """
    try:
        client.set(f"{PREFIX}:key", secrets.token_bytes(32), nx=True)
        key: Any = client.get(f"{PREFIX}:key")
    except redis.RedisError as cause:
        raise _unavailable(cause) from cause
    return UserKey(key)


class RedisHistories:
    """A `HistoryStore` in a Redis server, version 6.2 or newer.

    Batches go in one transaction; should the server run out of memory inside it, the users before that point keep
    theirs, and sending all of it again does no harm.
    """

    def __init__(self, url: str, *, key: UserKey, retention: Retention) -> None:
        self.retention = retention
        self._client: Any = connect(url)  # its own types say every answer may be a coroutine
        self._reader: Any = connect(url, timeout_s=_READ_S)
        self._key = key
        self._add = self._client.register_script(_ADD)
        self._rests_until = 0.0
        self._warn_if_forgetful()

    def add(self, batches: Sequence[Sequence[StoredEvent]]) -> list[int]:
        """See `HistoryStore`."""
        now = int(time.time())
        with self._asking(), self._client.pipeline(transaction=True) as pipeline:
            owners = []
            for number, events in enumerate(batches):
                for user_id, mine in _by_user(events).items():
                    owners.append(number)
                    self._add(keys=self._keys(user_id), args=self._arguments(mine, now), client=pipeline)
            counts = pipeline.execute() if owners else []
        new = [0] * len(batches)
        for number, count in zip(owners, counts, strict=True):
            new[number] += count
        return new

    def read(self, user_id: str) -> UserEvents:
        """See `HistoryStore`."""
        order, _, _ = self._keys(user_id)
        with self._asking(), self._reader.pipeline(transaction=True) as pipeline:
            pipeline.sismember(f"{PREFIX}:forgotten", self._key.hash(user_id))
            pipeline.zrange(order, self._horizon(), "+inf", byscore=True)
            forgotten, members = pipeline.execute()
        return UserEvents([_event(user_id, member) for member in members], bool(forgotten))

    def forget(self, user_id: str) -> int:
        """See `HistoryStore`. An append-only file holds the removed events until Redis rewrites it, which is asked."""
        order, ids, arrivals = self._keys(user_id)
        with self._asking(), self._client.pipeline(transaction=True) as pipeline:
            pipeline.zcard(order)
            pipeline.delete(order, ids, arrivals)
            pipeline.sadd(f"{PREFIX}:forgotten", self._key.hash(user_id))
            removed = pipeline.execute()[0]
        try:
            self._client.bgrewriteaof()
        except redis.RedisError:  # one is under way, or the server forbids it
            logger.warning("Redis did not begin to rewrite its append-only file, which still holds deleted events.")
        return int(removed)

    def forgotten(self, user_ids: Collection[str]) -> set[str]:
        """See `HistoryStore`."""
        with self._asking():
            hashes = {user_hash.decode() for user_hash in self._client.smembers(f"{PREFIX}:forgotten")}
        return {user_id for user_id in user_ids if self._key.hash(user_id) in hashes} if hashes else set()

    def prune(self, *, now: int) -> int:
        """See `HistoryStore`. A user who comes no more expires by themselves."""
        if self.retention.max_age_s is None:
            return 0
        removed = 0
        for users in self._users():
            with self._asking(), self._client.pipeline(transaction=True) as pipeline:
                for user_id in users:
                    pipeline.zcard(self._keys(user_id)[0])
                    self._add(keys=self._keys(user_id), args=self._arguments([], now), client=pipeline)
                    pipeline.zcard(self._keys(user_id)[0])
                counts = pipeline.execute()
            removed += sum(counts[0::3]) - sum(counts[2::3])
        return removed

    def everything(self) -> Iterator[list[StoredEvent]]:
        """See `HistoryStore`."""
        for users in self._users():
            with self._asking(), self._client.pipeline(transaction=False) as pipeline:
                for user_id in users:
                    pipeline.zrange(self._keys(user_id)[0], self._horizon(), "+inf", byscore=True)
                found = pipeline.execute()
            yield [_event(user_id, member) for user_id, members in zip(users, found, strict=True) for member in members]

    def close(self) -> None:
        """See `HistoryStore`."""
        self._client.close()
        self._reader.close()

    def _keys(self, user_id: str) -> list[str]:
        return [f"{PREFIX}:{what}:{user_id}" for what in ("order", "ids", "arrivals")]

    def _arguments(self, events: Sequence[StoredEvent], now: int) -> list[str | int]:
        age_s = self.retention.max_age_s
        arguments: list[str | int] = [
            self.retention.max_events,
            self.retention.horizon(now),
            0 if age_s is None else now + age_s,
        ]
        for event in events:
            arguments += [event.event_id, event.occurred_at, json.dumps(event[1:])]
        return arguments

    def _users(self) -> Iterator[list[str]]:
        prefix = f"{PREFIX}:order:"
        seen: set[str] = set()  # a scan may meet a key twice
        users: list[str] = []
        with self._asking():
            for key in self._client.scan_iter(match=f"{prefix}*", count=1_000):
                user_id = key.decode("utf-8", "surrogatepass").removeprefix(prefix)
                if user_id not in seen:
                    seen.add(user_id)
                    users.append(user_id)
        for start in range(0, len(users), _USERS_AT_ONCE):
            yield users[start : start + _USERS_AT_ONCE]

    def _horizon(self) -> int:
        return self.retention.horizon(int(time.time()))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        if time.monotonic() < self._rests_until:
            raise UnavailableError("Redis did not answer a moment ago.")
        try:
            yield
        except (redis.ConnectionError, redis.TimeoutError) as cause:
            self._rests_until = time.monotonic() + _REST_S
            raise _unavailable(cause) from cause
        except redis.ResponseError as cause:  # out of memory, read only, still loading: its own words tell
            raise UnavailableError(f"Redis refused: {cause}.") from cause

    def _warn_if_forgetful(self) -> None:
        try:
            known = self._client.config_get("appendonly")
        except redis.RedisError:  # not allowed to ask, or not there yet
            return
        if known.get("appendonly") == "no":
            logger.warning(
                "Redis keeps no append-only file: acknowledged events are lost when it stops between two snapshots. "
                "Set appendonly yes."
            )


def _by_user(events: Sequence[StoredEvent]) -> dict[str, list[StoredEvent]]:
    users: dict[str, list[StoredEvent]] = {}
    for event in events:
        users.setdefault(event.user_id, []).append(event)
    return users


def _event(user_id: str, member: bytes) -> StoredEvent:
    return StoredEvent(user_id, *json.loads(member[_ARRIVAL_DIGITS:]))


def _unavailable(cause: Exception) -> UnavailableError:
    return UnavailableError(f"Redis does not answer: {type(cause).__name__}.")
