"""Kill a process that writes events and items, at a random moment, again and again; what it said is there, is there.

    python kill_stores.py FOLDER ROUNDS SEED [REDIS_URL]

Each round forks a child in which several tasks write at once, sharing commits as requests do, and put a line into a
pipe after each acknowledged step. Steps follow from their number alone, so the parent knows what must be there: all
acknowledged steps of each task, and perhaps the one that was under way.
"""

import asyncio
import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

from serving.item_store import ItemDocument
from serving.state import open_state
from serving.stored_events import StoredEvent

TASKS = 4
STARTED_AT = 1_700_000_000


def user_of(task):
    return f"user-{task}"


def event_of(task, step):
    return StoredEvent(user_of(task), f"{step}", f"item-{step % 7}", STARTED_AT + step // 3, "view", float(step % 5))


async def take_step(state, task, step):
    match step % 12:
        case 4:
            document = ItemDocument(title=f"{step}", categories=("a", f"{task}"))
            await state.change(partial(state.items.put, f"live-{task}-{step % 5}", document, None))
        case 9:
            await state.change(partial(state.items.remove, f"live-{task}-{(step + 1) % 5}"))
        case 11 if step % 5 == 0:
            await state.change(partial(state.histories.forget, user_of(task)))
        case 7:
            await state.writer.add([event_of(task, step), event_of(task, step - 1)])  # the second came before
        case _:
            await state.writer.add([event_of(task, step)])


def expected(told, task, step):
    """What a step does to a dictionary of events and one of items."""
    events, items = told
    match step % 12:
        case 4:
            items[f"live-{task}-{step % 5}"] = f"{step}"
        case 9:
            items.pop(f"live-{task}-{(step + 1) % 5}", None)
        case 11 if step % 5 == 0:
            events.clear()
        case 7:
            events |= {f"{step}": event_of(task, step), f"{step - 1}": event_of(task, step - 1)}
        case _:
            events[f"{step}"] = event_of(task, step)


def work(folder, steps, pipe, redis_url):
    """The child: never returns."""

    async def write(state, task):
        step = steps[task]
        while True:
            await take_step(state, task, step)
            os.write(pipe, bytes([task]))
            step += 1

    async def all_tasks():
        state = open_state(folder, redis_url=redis_url)
        await asyncio.gather(*(write(state, task) for task in range(TASKS)))

    asyncio.run(all_tasks())


def found(folder, redis_url):
    """Of each task its events and its items, as a process finds them that opens the stores anew."""
    state = open_state(folder, redis_url=redis_url)
    items = {item.item_id: item.document.title for item in state.items.since(0) if item.document is not None}
    tasks = []
    for task in range(TASKS):
        events = {event.event_id: event for event in state.histories.read(user_of(task)).events}
        tasks.append((events, {name: title for name, title in items.items() if name.startswith(f"live-{task}-")}))
    state.close()
    return tasks


def main(folder, rounds, seed, redis_url=None):
    chance = random.Random(seed)
    steps, told = [0] * TASKS, [({}, {}) for _ in range(TASKS)]
    for _ in range(rounds):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            work(folder, steps, writing, redis_url)
        os.close(writing)
        acknowledged = [0] * TASKS
        acknowledged[os.read(reading, 1)[0]] += 1  # it is at work
        time.sleep(chance.uniform(0.0, 0.3))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while some := os.read(reading, 65536):
            for task in some:
                acknowledged[task] += 1
        os.close(reading)
        for task, now in enumerate(found(folder, redis_url)):
            for _ in range(acknowledged[task]):
                expected(told[task], task, steps[task])
                steps[task] += 1
            if now != told[task]:
                expected(told[task], task, steps[task])  # under way, and on the disk
                steps[task] += 1
            assert now == told[task], f"task {task}, step {steps[task]}: what was acknowledged is gone or wrong"
    print(f"{rounds} kills, {sum(steps)} steps")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
