"""Answered together is answered alike: the same items as one by one, and for each its own failure."""

import asyncio
import dataclasses
import threading

import numpy as np
import pytest

from serving.meters import Meters
from serving.owner import ServiceOwner
from serving.schemas import HistoryEvent, RecommendRequest
from serving.settings import BatchSettings
from serving.variant import Variant

NOW = 1_703_000_000


def mixed_requests():
    """All paths, several lengths of history and of answer, with and without reasons and seen items."""
    known = [RecommendRequest(user_id=f"顾客{user}", requested_at=NOW, k=1 + user) for user in range(8)]
    told = [
        RecommendRequest(
            history=[HistoryEvent(item_id=f"shelf/{n:02}") for n in range(length)],
            requested_at=NOW,
            k=5,
            explain=length % 2 == 0,
            exclude_seen=length < 3,
        )
        for length in range(1, 6)
    ]
    return [*known, RecommendRequest(requested_at=NOW, k=3), *told, RecommendRequest(user_id="nobody", k=40)]


def test_a_batch_gives_what_one_by_one_gives(service):
    requests = mixed_requests()
    together = service.recommend_all(requests)
    for request, answer in zip(requests, together, strict=True):
        alone = service.recommend(request)
        assert [item.item_id for item in answer.items] == [item.item_id for item in alone.items]
        assert len(alone.items) > 0
        np.testing.assert_allclose(
            [item.score for item in answer.items], [item.score for item in alone.items], atol=1e-4
        )
        assert (answer.path, answer.warnings) == (alone.path, alone.warnings)
        assert [item.reasons is None for item in answer.items] == [item.reasons is None for item in alone.items]


@pytest.fixture
def run(service):
    """Runs a scenario against an owner of the service; gives what it returns and the meters."""

    def run(scenario, *, service=service, batch=None):
        async def live():
            owner = ServiceOwner(Variant("main", lambda: service), batch=batch, meters=Meters())
            owner.start()
            while owner.main.running is None:
                await asyncio.sleep(0.005)
            try:
                return await scenario(owner), owner.meters
            finally:
                owner.stop()

        return asyncio.run(live())

    return run


class Gate:
    """A search that can be held, so that others queue behind it."""

    def __init__(self, service):
        self.held, self.go_on = threading.Event(), threading.Event()
        self.sizes = []
        self._search = service.recommender.search
        recommender = dataclasses.replace(service.recommender, search=self.search)
        self.service = dataclasses.replace(service, recommender=recommender)

    def search(self, vectors, k):
        self.sizes.append(len(vectors))
        self.held.set()
        self.go_on.wait(timeout=30)
        return self._search(vectors, k)


async def held(gate):
    await asyncio.get_running_loop().run_in_executor(None, gate.held.wait, 30)


def test_what_queues_while_the_owner_works_is_one_batch(run, service):
    gate = Gate(service)
    requests = mixed_requests()[:8]

    async def scenario(owner):
        first = asyncio.ensure_future(owner.recommend(requests[0]))
        await held(gate)
        others = [asyncio.ensure_future(owner.recommend(request)) for request in requests]
        await asyncio.sleep(0.02)
        gate.go_on.set()
        return await asyncio.gather(first, *others)

    answers, meters = run(scenario, service=gate.service)
    assert gate.sizes == [1, 8]
    for request, answer in zip([requests[0], *requests], answers, strict=True):
        assert [item.item_id for item in answer.items] == [item.item_id for item in service.recommend(request).items]
    assert b'recsys_batch_size_sum{variant="main"} 9.0' in meters.exposition()


def test_a_batch_holds_no_more_than_it_may(run, service):
    gate = Gate(service)

    async def scenario(owner):
        requests = mixed_requests()[:8]
        asked = [asyncio.ensure_future(owner.recommend(requests[0]))]
        await held(gate)
        asked += [asyncio.ensure_future(owner.recommend(request)) for request in requests]
        await asyncio.sleep(0.02)
        gate.go_on.set()
        await asyncio.gather(*asked)

    run(scenario, service=gate.service, batch=BatchSettings(max_requests=3))
    assert gate.sizes == [1, 3, 3, 2]


def test_one_that_fails_does_not_take_the_others_with_it(run, service):
    class Picky:
        def __init__(self, search):
            self._search = search

        def __call__(self, vectors, k):
            if k > 250:
                raise ZeroDivisionError("too deep")
            return self._search(vectors, k)

    recommender = dataclasses.replace(service.recommender, search=Picky(service.recommender.search))
    gate = Gate(dataclasses.replace(service, recommender=recommender))
    good, bad = mixed_requests()[2], mixed_requests()[3].model_copy(update={"k": 300})

    async def scenario(owner):
        first = asyncio.ensure_future(owner.recommend(good))
        await held(gate)
        asked = [asyncio.ensure_future(owner.recommend(request)) for request in (good, bad, good)]
        await asyncio.sleep(0.02)
        gate.go_on.set()
        return await asyncio.gather(first, *asked, return_exceptions=True)

    deep = dataclasses.replace(gate.service, index=service.index)
    answers, _ = run(scenario, service=deep)
    assert [type(answer).__name__ for answer in answers] == [
        "RecommendAnswer",
        "RecommendAnswer",
        "ZeroDivisionError",
        "RecommendAnswer",
    ]


def test_nobody_computes_for_whoever_has_left(run, service):
    gate = Gate(service)
    requests = mixed_requests()[:3]

    async def scenario(owner):
        first = asyncio.ensure_future(owner.recommend(requests[0]))
        await held(gate)
        left, stays = (asyncio.ensure_future(owner.recommend(request)) for request in requests[1:])
        await asyncio.sleep(0.02)
        left.cancel()
        gate.go_on.set()
        await asyncio.gather(first, stays)

    run(scenario, service=gate.service)
    assert gate.sizes == [1, 1]


def test_alone_nothing_waits_for_company(run):
    request = mixed_requests()[0]

    async def scenario(owner):
        started = asyncio.get_running_loop().time()
        for _ in range(5):
            await owner.recommend(request)
        return asyncio.get_running_loop().time() - started

    took_s, _ = run(scenario, batch=BatchSettings(gather_ms=1_000))
    assert took_s < 1.0


def test_company_that_came_last_time_is_waited_for(run, service):
    gate = Gate(service)
    requests = mixed_requests()[:4]

    async def scenario(owner):
        first = asyncio.ensure_future(owner.recommend(requests[0]))
        await held(gate)
        asked = [asyncio.ensure_future(owner.recommend(request)) for request in requests]
        await asyncio.sleep(0.02)
        gate.go_on.set()
        await asyncio.gather(first, *asked)
        one = asyncio.ensure_future(owner.recommend(requests[0]))
        await asyncio.sleep(0.05)
        await asyncio.gather(one, *(owner.recommend(request) for request in requests[1:]))

    run(scenario, service=gate.service, batch=BatchSettings(gather_ms=1_000))
    assert gate.sizes == [1, 4, 4]


def test_errands_are_run_in_order_before_the_batch(run, service):
    gate = Gate(service)
    done = []

    async def scenario(owner):
        first = asyncio.ensure_future(owner.recommend(mixed_requests()[0]))
        await held(gate)
        errands = [asyncio.ensure_future(owner.run(lambda _, n=n: done.append(n))) for n in range(5)]
        await asyncio.sleep(0.02)
        gate.go_on.set()
        await asyncio.gather(first, *errands)

    run(scenario, service=gate.service)
    assert done == [0, 1, 2, 3, 4]
