"""An append-only file of records that were acknowledged: each is on the disk before ``append`` returns.

The header names the snapshot the log continues and how many bytes were acknowledged. Below that mark every record must
be whole, so a shortened or altered file is refused; past it a torn record is what a crash left, and is dropped.
"""

import os
import struct
import weakref
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from index.manifest import damaged

_MAGIC = b"IDXLOG01"
_HEAD = struct.Struct("<8s32sQ")  # magic, snapshot digest, acknowledged bytes
_CHECK = struct.Struct("<I")
_RECORD = struct.Struct("<QI")  # payload bytes, crc32 of those eight bytes and the payload
_FIRST = _HEAD.size + _CHECK.size


class LogWriter:
    """The one writer of a log."""

    def __init__(self, path: Path, snapshot: bytes, end: int) -> None:
        """Continue a log after ``end`` bytes; what lies beyond was never acknowledged."""
        self.end = end
        self._snapshot = snapshot
        self._file = os.open(path, os.O_RDWR)
        self._let_go = weakref.finalize(self, os.close, self._file)
        os.ftruncate(self._file, end)
        self._acknowledge()

    @classmethod
    def create(cls, path: Path, snapshot: bytes, payloads: Iterable[bytes]) -> Self:
        """A new log, on the disk, with its first records."""
        with path.open("xb") as file:
            file.write(b"\0" * _FIRST)
            for payload in payloads:
                file.write(_record(payload))
            end = file.tell()
            file.seek(0)
            file.write(_header(snapshot, end))
            file.flush()
            os.fsync(file.fileno())
        return cls(path, snapshot, end)

    def append(self, payload: bytes) -> None:
        """Write a record and wait until the disk has it."""
        record = _record(payload)
        written = 0
        while written < len(record):
            written += os.pwrite(self._file, memoryview(record)[written:], self.end + written)
        os.fdatasync(self._file)
        self.end += len(record)
        self._acknowledge()

    def _acknowledge(self) -> None:
        # Not synced: after a power cut the mark may be old, and the records beyond it are found by their checksums.
        os.pwrite(self._file, _header(self._snapshot, self.end), 0)

    def close(self) -> None:
        """Let go of the file."""
        self._let_go()


def read(path: Path, snapshot: bytes) -> tuple[list[bytes], int]:
    """The records of a log, and the byte after the last good one.

    Raises:
        VectorIndexError: the log is missing, shortened, altered, or continues another snapshot.
    """
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise damaged(path, f"cannot be read ({cause.strerror})") from cause
    acknowledged = _acknowledged(path, snapshot, content[:_FIRST])
    if acknowledged > len(content):
        raise damaged(path, f"{len(content)} bytes are left of {acknowledged}")
    payloads, end = [], _FIRST
    while (payload := _payload_at(content, end)) is not None:
        payloads.append(payload)
        end += _RECORD.size + len(payload)
    if end < acknowledged:
        raise damaged(path, f"the record at byte {end} does not match its checksum")
    return payloads, end


def _acknowledged(path: Path, snapshot: bytes, header: bytes) -> int:
    if len(header) < _FIRST or header[_HEAD.size :] != _CHECK.pack(zlib.crc32(header[: _HEAD.size])):
        raise damaged(path, "the header does not match its checksum")
    magic, owner, acknowledged = _HEAD.unpack(header[: _HEAD.size])
    if magic != _MAGIC or owner != snapshot:
        raise damaged(path, "it belongs to another snapshot")
    return int(acknowledged)


def _header(snapshot: bytes, end: int) -> bytes:
    head = _HEAD.pack(_MAGIC, snapshot, end)
    return head + _CHECK.pack(zlib.crc32(head))


def _record(payload: bytes) -> bytes:
    return _RECORD.pack(len(payload), _check(payload)) + payload


def _check(payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(len(payload).to_bytes(8, "little")))


def _payload_at(content: bytes, start: int) -> bytes | None:
    body = start + _RECORD.size
    if body > len(content):
        return None
    size, check = _RECORD.unpack_from(content, start)
    payload = content[body : body + size]
    return payload if len(payload) == size and check == _check(payload) else None
