"""The one thread that runs the model and the index, so that the event loop is always free.

One owner means that requests never meet inside the model, and that a search has the machine to itself. Requests that
come while it works are answered together afterwards: one pass through the user tower and one search for all of them.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

import torch

from serving.meters import Meters
from serving.readings import Readings
from serving.schemas import RecommendAnswer, RecommendRequest
from serving.service import Service
from serving.settings import BatchSettings
from serving.trial import Trial, overlap
from serving.variant import SwapRefusedError, Variant

T = TypeVar("T")

SHADOWS_KEPT = 256
"""Questions that wait for the shadow; it only gets what time is left, and more than these are passed over."""

logger = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class _Waiting:
    """Something asked of the owner."""

    answer: "asyncio.Future[Any]"
    variant: Variant
    asked_at: float = field(default_factory=perf_counter)


@dataclass(eq=False, kw_only=True)
class _Question(_Waiting):
    request: RecommendRequest


@dataclass(eq=False, kw_only=True)
class _Errand(_Waiting):
    work: Callable[[Service], Any]


Outcome = tuple["asyncio.Future[Any]", Any]


class ServiceOwner:
    """Runs in a thread of its own whatever is asked of a service, and swaps the service between two batches."""

    def __init__(
        self,
        main: Variant,
        *,
        trial: Trial | None = None,
        batch: BatchSettings | None = None,
        meters: Meters | None = None,
    ) -> None:
        self.main = main
        self.trial = trial
        self.meters = meters or Meters()
        self._readings = Readings(self.meters)
        self._batch = batch or BatchSettings()
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._came_together = 1
        self._shadows: deque[tuple[RecommendRequest, list[str]]] = deque()
        self._thread = threading.Thread(target=self._live, name="service", daemon=True)
        # A loader takes one core at most, and the requests keep the others.
        self._loader = ThreadPoolExecutor(1, "loader", initializer=torch.set_num_threads, initargs=(1,))

    def start(self) -> None:
        """Begin to load; come back at once."""
        self._loop = asyncio.get_running_loop()
        for variant in self.variants():
            self._loader.submit(self._first_load, variant)
        self._thread.start()

    def stop(self) -> None:
        """Answer what waits, then end."""
        self._waiting.put(None)
        self._thread.join()
        self._loader.shutdown(wait=True, cancel_futures=True)

    def variants(self) -> list[Variant]:
        """The bundles that answer."""
        return [self.main] if self.trial is None else [self.main, self.trial.variant]

    def is_loading(self) -> bool:
        """Whether the first bundle is still on its way."""
        return self.main.is_loading()

    def service(self) -> Service:
        """The service, which only its own thread may use; elsewhere, having it says no more than that it is ready.

        Raises:
            NotReadyError: It is being loaded, or could not be.
        """
        return self.main.service()

    async def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """What the user's variant recommends, computed together with whatever else is being asked.

        Raises:
            NotReadyError: It is being loaded, or could not be.
        """
        self.service()
        answer: asyncio.Future[RecommendAnswer] = self._loop.create_future()
        self._waiting.put(_Question(answer=answer, variant=self._variant_of(request), request=request))
        return await answer

    async def run(self, work: Callable[[Service], T]) -> T:
        """What ``work`` makes of the service, in the service's thread.

        Raises:
            NotReadyError: It is being loaded, or could not be.
        """
        self.service()
        answer: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Errand(answer=answer, variant=self.main, work=work))
        return await answer

    async def change(self, change: Callable[[], T]) -> T:
        """Swap or roll back a variant, in the loader's thread; requests are answered meanwhile.

        Raises:
            SwapRefusedError: It could not be done; what ran goes on.
        """
        try:
            changed = await self._loop.run_in_executor(self._loader, change)
        except SwapRefusedError:
            self.meters.swaps.labels("refused").inc()
            raise
        self.meters.swaps.labels("done").inc()
        return changed

    def take_readings(self) -> None:
        """Bring up to date the meters that show a state and are not counted as things happen."""
        self.meters.queue.set(self._waiting.qsize())
        for variant in self.variants():
            if (service := variant.running) is not None:
                self._readings.take(variant.name, service)

    def _first_load(self, variant: Variant) -> None:
        try:
            variant.swap()
        except SwapRefusedError as refusal:
            logger.debug("%s: %s", variant.name, refusal)  # the variant has logged why

    def _variant_of(self, request: RecommendRequest) -> Variant:
        trial = self.trial
        if trial is None or trial.shadow or trial.variant.running is None or not trial.takes(request.user_id):
            return self.main
        return trial.variant

    def _live(self) -> None:
        # Two threads answer one request no faster than one (width 128: 3.8 and 3.9 ms), and now and then much later.
        torch.set_num_threads(1)
        stopped = False
        while not stopped:
            self._answer_shadows()
            taken = self._take()
            stopped = None in taken
            together = [one for one in taken if one is not None and not one.answer.cancelled()]
            for errand in together:
                if isinstance(errand, _Errand):
                    self._deliver([(errand.answer, _outcome(errand.work, errand.variant.service()))])
            questions = [one for one in together if isinstance(one, _Question)]
            for variant in self.variants():
                self._answer([question for question in questions if question.variant is variant], variant)

    def _take(self) -> list[_Waiting | None]:
        """What waits, at least one, at most a batch."""
        taken = [self._waiting.get()]
        deadline = perf_counter() + self._batch.gather_ms / 1_000
        while taken[-1] is not None and len(taken) < self._batch.max_requests:
            patience = deadline - perf_counter() if len(taken) < self._came_together else 0.0
            try:
                taken.append(self._waiting.get(block=patience > 0, timeout=max(patience, 0.0)))
            except Empty:
                break
        self._came_together = len(taken)
        return taken

    def _answer(self, questions: Sequence[_Question], variant: Variant) -> None:
        if not questions:
            return
        service, started = variant.service(), perf_counter()  # one service for the whole batch
        requests = [question.request for question in questions]
        answers = _outcomes(service, requests)
        if self.trial is not None:
            answers = [_named(answer, variant.name) for answer in answers]
        self._deliver(list(zip((question.answer for question in questions), answers, strict=True)))
        self._note(questions, answers, variant, started)
        self._remember_shadows(requests, answers)

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        """One wake-up of the event loop for all of them."""
        self._loop.call_soon_threadsafe(_settle, outcomes)

    def _note(self, questions: Sequence[_Question], answers: Sequence[Any], variant: Variant, started: float) -> None:
        meters = self.meters
        meters.batch_size.labels(variant.name).observe(len(questions))
        for question in questions:
            meters.queue_seconds.observe(started - question.asked_at)
        given = [answer for answer in answers if isinstance(answer, RecommendAnswer)]
        for answer in given:
            meters.recommendations.labels(answer.path, variant.name).inc()
        for stage, milliseconds in given[0].timings_ms.items() if given else ():
            meters.stage_seconds.labels(stage, variant.name).observe(milliseconds / 1_000)

    def _remember_shadows(self, requests: Sequence[RecommendRequest], answers: Sequence[Any]) -> None:
        if self.trial is None or not self.trial.shadow:
            return
        for request, answer in zip(requests, answers, strict=True):
            if isinstance(answer, RecommendAnswer) and self.trial.takes(request.user_id):
                self._shadows.append((request, [item.item_id for item in answer.items]))
        while len(self._shadows) > SHADOWS_KEPT:
            self._shadows.popleft()

    def _answer_shadows(self) -> None:
        """While nobody waits, ask the shadow what the first bundle was asked."""
        while self.trial is not None and self._shadows and self._waiting.empty():
            request, shown = self._shadows.popleft()
            if (service := self.trial.variant.running) is None:
                return
            answer = _outcome(service.recommend, request)
            if isinstance(answer, RecommendAnswer):
                self.meters.shadow_overlap.observe(overlap(shown, [item.item_id for item in answer.items]))
                for stage, milliseconds in answer.timings_ms.items():
                    self.meters.stage_seconds.labels(stage, self.trial.variant.name).observe(milliseconds / 1_000)


def _outcomes(service: Service, requests: Sequence[RecommendRequest]) -> list[Any]:
    """Answers, or each its own exception: one that cannot be answered does not take the others with it."""
    answers = _outcome(service.recommend_all, requests)
    if isinstance(answers, Exception):
        return [answers] if len(requests) == 1 else [_outcome(service.recommend, request) for request in requests]
    return list(answers)


def _outcome(work: Callable[[Any], Any], given: Any) -> Any:
    try:
        return work(given)
    except Exception as problem:
        return problem


def _named(answer: Any, variant: str) -> Any:
    return answer.model_copy(update={"variant": variant}) if isinstance(answer, RecommendAnswer) else answer


def _settle(outcomes: Sequence[Outcome]) -> None:
    for answer, outcome in outcomes:
        if answer.cancelled():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
