"""The directory an index lives in, and the right to change it, which one writer at a time can hold.

A loaded index reads without any right. Its first update claims the directory; an index that another writer has
overtaken meanwhile is refused, since it would write over what it has not seen.
"""

import fcntl
import os
import weakref
from collections.abc import Iterable
from pathlib import Path

from index import snapshot
from index.errors import VectorIndexError
from index.kinds import Kind
from index.log import LogWriter
from index.sealed import Sealed


class Home:
    """Where one index is kept, and how much of what is kept there it has seen."""

    def __init__(self, directory: Path, folder: Path | None = None, seen: int = 0) -> None:
        """A directory, and the version and log bytes an index was loaded from; none for one that is saved first."""
        self.directory = directory
        self.folder = folder
        self._seen = seen
        self._let_go: weakref.finalize[..., Home] | None = None
        self._log: LogWriter | None = None

    @property
    def claimed(self) -> bool:
        """Whether this index holds the right to write."""
        return self._let_go is not None

    def claim(self) -> None:
        """Take the right to write, until ``release``.

        Raises:
            VectorIndexError: another writer holds it, or has changed the directory since this index was loaded.
        """
        if self.claimed:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.directory / "LOCK", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self.folder is not None:
                self._refuse_if_overtaken(self.folder)
                self._log = snapshot.log_writer(self.folder)
        except BlockingIOError as cause:
            os.close(lock)
            raise VectorIndexError(
                f"{self.directory}: another writer holds this index. One at a time: close it, or save elsewhere."
            ) from cause
        except BaseException:
            os.close(lock)
            raise
        self._let_go = weakref.finalize(self, os.close, lock)  # an index that is dropped gives its right back

    def _refuse_if_overtaken(self, folder: Path) -> None:
        if snapshot.current(self.directory) != folder or snapshot.log_end(folder) != self._seen:
            raise VectorIndexError(
                f"{self.directory}: changed by another writer since it was loaded here. Load it again, then update."
            )

    def append(self, payload: bytes) -> None:
        """Put an update on the disk; claims the directory."""
        self.claim()
        assert self._log is not None
        self._log.append(payload)
        self._seen = self._log.end

    def prepare(self, sealed: Sealed, kind: Kind, fingerprint: str, *, resealed: bool) -> Path:
        """Write the next version, all but its log; takes as long as the index is large."""
        like = None if resealed else self.folder
        return snapshot.prepare(self.directory, sealed, kind, fingerprint, like=like)

    def publish(self, part: Path, payloads: Iterable[bytes]) -> None:
        """Make a prepared version the current one, followed by these updates."""
        folder, writer = snapshot.publish(part, payloads)
        if self._log is not None:
            self._log.close()
        self.folder, self._log, self._seen = folder, writer, writer.end

    def release(self) -> None:
        """Give the right to write back."""
        if self._log is not None:
            self._log.close()
        if self._let_go is not None:
            self._let_go()
        self._log = self._let_go = None
