"""What outlives a bundle: users' events, items that came since, and the key that hides users' names.

It lies in a folder beside the bundle's, never in it, since bundles are replaced.
"""

import asyncio
import logging
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from recsys.errors import InputError
from recsys.interactions import DAY_S
from serving.event_writer import EventWriter
from serving.item_store import ItemStore
from serving.refusals import UnavailableError
from serving.settings import StateSettings
from serving.sqlite_histories import SqliteHistories
from serving.stored_events import HistoryStore, Retention
from serving.user_key import UserKey, key_beside

HISTORIES = "histories.sqlite"
ITEMS = "items.sqlite"
TEXTS = "texts"
PRUNE_EVERY_S = 3_600.0

logger = logging.getLogger(__name__)

T = TypeVar("T")


class State:
    """Shared by every bundle that a process serves, one after another or side by side."""

    def __init__(self, folder: Path, histories: HistoryStore, key: UserKey) -> None:
        """Open the items of the folder.

        Args:
            folder: Must be there.
            histories: Wherever they are.
            key: That the histories hash names with.
        """
        self.folder = folder
        self.histories = histories
        self.key = key
        self.items = ItemStore(folder / ITEMS)
        self._thread = ThreadPoolExecutor(1, "writer")  # one: SQLite takes one writer at a time anyway
        self.writer = EventWriter(histories, self._thread)
        self._closing = threading.Event()
        self.pruned_at: float | None = None
        """Unix seconds: when events that are too old were last removed."""
        if histories.retention.max_age_s is not None:
            threading.Thread(target=self._prune_now_and_then, name="retention", daemon=True).start()

    async def change(self, change: Callable[[], T]) -> T:
        """What a change to the stores gives, made in the writer's thread, in order of asking."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, change)

    def close(self) -> None:
        """Finish what is being written and let go of the files."""
        self._closing.set()
        self._thread.shutdown(wait=True)
        self.histories.close()
        self.items.close()

    def _prune_now_and_then(self) -> None:
        """What nobody reads any more must go even where nobody writes."""
        while not self._closing.wait(0 if self.pruned_at is None else PRUNE_EVERY_S):
            try:
                removed = self._thread.submit(self.histories.prune, now=int(time.time())).result()
            except (UnavailableError, RuntimeError) as problem:  # or the thread was shut down just now
                logger.warning("Old events are still there: %s", problem)
            else:
                logger.info("%d events were too old to be kept.", removed)
            self.pruned_at = time.time()


def open_state(
    folder: Path | None = None,
    *,
    redis_url: str | None = None,
    user_key: str | None = None,
    retention: Retention | None = None,
) -> State:
    """The state kept in a folder, made where there is none.

    Args:
        folder: None keeps everything in a temporary one, which goes when the process ends.
        redis_url: ``redis://host:6379/0``, where histories are shared by several replicas; without it they are in the
            folder too.
        user_key: Hides users' names in logs and in the record of deletions. Left out, one is made and kept beside the
            histories. Another key has never heard of the users deleted under this one.
        retention: How much is kept of one user.

    Raises:
        UnavailableError: Redis does not answer, or the folder's files are locked or damaged.
    """
    temporary = folder is None
    place = Path(tempfile.mkdtemp(prefix="recsys-state-")) if folder is None else folder
    place.mkdir(parents=True, exist_ok=True)
    retention = retention or Retention()
    histories: HistoryStore
    if redis_url is not None:
        histories, key = _in_redis(redis_url, user_key, retention)
    else:
        key = key_beside(place) if user_key is None else UserKey(user_key.encode())
        histories = SqliteHistories(place / HISTORIES, key=key, retention=retention)
    state = State(place, histories, key)
    if temporary:
        weakref.finalize(state, shutil.rmtree, place, ignore_errors=True)
    return state


def state_for(bundle: Path, settings: StateSettings) -> State:
    """The state of a bundle as the settings have it.

    Raises:
        InputError: It cannot be opened; the message says which setting it is about.
    """
    days = settings.max_age_days
    folder = settings.folder or state_beside(bundle)
    try:
        return open_state(
            folder,
            redis_url=None if settings.redis_url is None else settings.redis_url.get_secret_value(),
            user_key=None if settings.user_key is None else settings.user_key.get_secret_value(),
            retention=Retention(settings.max_events, None if days is None else round(days * DAY_S)),
        )
    except UnavailableError as problem:
        raise InputError(f"settings state.folder ({folder}) and state.redis_url: {problem}") from problem
    except OSError as problem:
        raise InputError(f"setting state.folder, {folder}: {problem.strerror}. Name a folder to write in.") from None
    except ModuleNotFoundError:
        raise InputError("setting state.redis_url: pip install 'two-tower-recsys[redis]'.") from None


def state_left_by_a_service(bundle: Path, settings: StateSettings) -> State | None:
    """The state that a service of this bundle keeps, if one ever ran with these settings; nothing is made.

    Raises:
        InputError: As `state_for`.
    """
    kept = (settings.folder or state_beside(bundle)).is_dir() or settings.redis_url is not None
    return state_for(bundle, settings) if kept else None


def state_beside(bundle: Path) -> Path:
    """Where the state of a bundle lies unless another place is named: ``runs/films.state`` beside ``runs/films``.

    A link is taken by its own name, so that the bundles it points to one after another share one state.
    """
    return bundle.absolute().with_name(f"{bundle.name}.state")


def _in_redis(url: str, user_key: str | None, retention: Retention) -> tuple[HistoryStore, UserKey]:
    from serving.redis_histories import RedisHistories, connect, shared_key

    key = shared_key(connect(url)) if user_key is None else UserKey(user_key.encode())
    return RedisHistories(url, key=key, retention=retention), key
