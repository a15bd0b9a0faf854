"""What tells a blocked search from a busy machine must itself be right."""

import threading
import time

from benchmarks.index.waiting import Spent, Watch


def test_waiting_for_a_lock_is_blocked_and_work_is_not():
    watch, lock = Watch(), threading.Lock()
    lock.acquire()
    threading.Timer(0.06, lock.release).start()
    waited = watch.time(lock.acquire)
    assert 40 < waited.blocked_ms <= waited.wall_ms
    assert waited.running_ms < 20

    def work():
        until = time.thread_time() + 0.04
        while time.thread_time() < until:
            pass

    worked = watch.time(work)
    assert worked.running_ms >= 40
    assert worked.blocked_ms < 20
    watch.close()


def test_what_is_queued_is_not_blocked():
    assert Spent(wall_ms=30.0, running_ms=1.0, queued_ms=24.0).blocked_ms == 5.0
    assert Spent(wall_ms=1.0, running_ms=1.01, queued_ms=0.0).blocked_ms == 0.0
