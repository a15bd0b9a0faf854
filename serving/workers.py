"""Several processes behind one port: each is started, watched, and started again should it die."""

import multiprocessing
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from serving.logs import configure_logs
from serving.meters import SHARED_BY_FILES
from serving.settings import Settings

LOOK_EVERY_S = 0.5

Work = Callable[[socket.socket, Settings], None]


def supervise(listener: socket.socket, settings: Settings, *, work: Work) -> None:
    """Keep as many workers as the settings say until this process is told to stop; then let them drain.

    Each has the listening socket, and the kernel deals out connections. They count together, by files that
    prometheus_client keeps.
    """
    stopping = threading.Event()
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, lambda *_: stopping.set())
    with tempfile.TemporaryDirectory(prefix="recsys-meters-") as together:
        os.environ[SHARED_BY_FILES] = together
        workers = [_start(listener, settings, work) for _ in range(settings.server.workers)]
        while not stopping.wait(LOOK_EVERY_S):
            for place, worker in enumerate(workers):
                if not worker.is_alive():
                    workers[place] = _start(listener, settings, work)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def _start(listener: socket.socket, settings: Settings, work: Work) -> BaseProcess:
    # Not forked: threads of a model that has been loaded would be missing in the copy.
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(listener, settings, work))
    worker.start()
    return worker


def _work(listener: socket.socket, settings: Settings, work: Work) -> None:
    configure_logs(settings.log)
    work(listener, settings)
