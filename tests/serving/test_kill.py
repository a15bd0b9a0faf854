import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.redis_server import running_redis

SCRIPT = Path(__file__).with_name("kill_stores.py")
ROOT = Path(__file__).parents[2]


def killed(*arguments):
    """(kills, steps) of a run of the script that found everything it looked for."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout.split()[0]), int(done.stdout.split()[2])


@pytest.mark.parametrize("rounds", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_sigkill_loses_no_acknowledged_event_and_no_item(tmp_path, record_testsuite_property, rounds):
    kills, steps = killed(tmp_path / "state", rounds, 7)
    assert kills == rounds
    assert steps > 5 * rounds  # it was killed at work, not asleep
    record_testsuite_property("kills", kills)


@pytest.mark.slow
def test_sigkill_of_a_replica_loses_nothing_that_redis_was_told(tmp_path, record_testsuite_property):
    with running_redis(tmp_path, "--appendonly", "yes") as (url, _):
        assert killed(tmp_path / "state", 50, 7, url)[0] == 50
    record_testsuite_property("kills", 50)


def test_sigkill_of_redis_that_syncs_always_loses_nothing(tmp_path):
    from serving.redis_histories import RedisHistories
    from serving.stored_events import Retention, StoredEvent
    from serving.user_key import UserKey

    told = [StoredEvent("ann", str(number), "tea", 1_700_000_000 + number) for number in range(200)]
    safely = ("--appendonly", "yes", "--appendfsync", "always")
    with running_redis(tmp_path, *safely) as (url, server):
        store = RedisHistories(url, key=UserKey(b"k"), retention=Retention())
        for event in told:
            store.add([[event]])
        store.forget("bob")
        server.send_signal(signal.SIGKILL)
        server.wait()
        store.close()
    with running_redis(tmp_path, *safely) as (url, _):
        store = RedisHistories(url, key=UserKey(b"k"), retention=Retention())
        assert store.read("ann").events == told
        assert store.read("bob").forgotten
        store.close()
