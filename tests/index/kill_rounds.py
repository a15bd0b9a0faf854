"""Kill a process that writes, at a random moment, again and again; after each death the index must hold what it said.

    python kill_rounds.py DIRECTORY ROUNDS SEED

Each round forks a child that loads the index and updates, saves and compacts it, and writes a byte to a pipe after each
acknowledged step. Steps follow from their number alone, so the parent knows what must be there.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import faiss
import numpy as np

from index import snapshot, vector_index
from index.kinds import IVFFastScan
from index.vector_index import VectorIndex

ROWS, DIM = 1200, 8


def vectors_of(step, count):
    return np.random.default_rng(step).normal(size=(count, DIM)).astype(np.float32)


def take_step(index, step, directory):
    """One acknowledged change; most are updates, some are saves and compactions of the same content."""
    match step % 8:
        case 0:
            index.delete([step % ROWS, step % 50])
        case 3 if step % 3 == 0:
            index.compact()
        case 5 if step % 3 == 0:
            index.save(directory)
        case _:
            index.upsert([step % 50, ROWS + step % 300], vectors_of(step, 2))


def expected(rows, step):
    """What ``take_step`` does to a dictionary."""
    match step % 8:
        case 0:
            rows.pop(step % ROWS, None)
            rows.pop(step % 50, None)
        case 3 | 5 if step % 3 == 0:
            pass
        case _:
            first, second = vectors_of(step, 2)
            rows[step % 50], rows[ROWS + step % 300] = first, second


def work(directory, step, pipe):
    """The child: never returns."""
    index = VectorIndex.load(directory)
    while True:
        take_step(index, step, directory)
        os.write(pipe, b".")
        step += 1


def content(directory):
    index = VectorIndex.load(directory)
    ids = index.search(np.ones((1, DIM)), len(index), exact=True).ids[0]
    return dict(zip(ids.tolist(), index.vectors_of(ids), strict=True))


def same(left, right):
    return left.keys() == right.keys() and all((left[row_id] == right[row_id]).all() for row_id in left)


def main(directory, rounds, seed):
    faiss.omp_set_num_threads(1)  # a forked process must not inherit a pool of threads
    vector_index.COMPACT_AFTER_ROWS, vector_index.COMPACT_AFTER_SHARE = 60, 0.0
    chance = random.Random(seed)
    rows = dict(enumerate(vectors_of(10**6, ROWS)))
    VectorIndex.build(vectors_of(10**6, ROWS), np.arange(ROWS), kind=IVFFastScan(8, 4)).save(directory)
    step, versions = 0, Counter()
    for _ in range(rounds):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            work(directory, step, writing)
        os.close(writing)
        time.sleep(chance.uniform(0.005, 0.25))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged = 0
        while some := os.read(reading, 65536):
            acknowledged += len(some)
        os.close(reading)
        for done in range(step, step + acknowledged):
            expected(rows, done)
        step += acknowledged
        found = content(directory)
        if not same(found, rows):  # the step under way may have reached the disk, and nothing else
            expected(rows, step)
            step += 1
            assert same(found, rows), f"after step {step}: acknowledged rows are gone or wrong"
        versions[snapshot.current(directory).name] += 1
    print(f"{rounds} kills, {step} steps, {len(versions)} versions")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
