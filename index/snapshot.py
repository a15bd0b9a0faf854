"""The folder an index is kept in: numbered versions, and one file that says which of them counts.

    CURRENT     the version that counts, and the checksum of its manifest
    000007/     a version: manifest.json, ids.npy, vectors.faiss, approximate.faiss, attributes.npz, updates.log
    LOCK        held by the one process that writes

A version is written beside, synced and renamed; only then does CURRENT, itself renamed into place, point to it. So a
process may die at any moment: the folder holds the version before or the version after, whole.
"""

import json
import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np

from index import attribute_table, engines, kinds, log
from index.errors import VectorIndexError
from index.kinds import Kind
from index.log import LogWriter
from index.manifest import Manifest, damaged, described, sync, write_synced
from index.sealed import Sealed
from index.vectors import SealedVectors

VERSIONS_KEPT = 3

_CURRENT = "CURRENT"
_LOG = "updates.log"
_UNFINISHED = ".part"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Stored:
    """A version as it was read."""

    folder: Path
    manifest: Manifest
    sealed: Sealed
    payloads: list[bytes]
    """The updates since it was sealed, oldest first."""
    log_end: int


def current(directory: Path) -> Path:
    """The folder of the version that counts.

    Raises:
        VectorIndexError: there is no index, or CURRENT and the manifest it names disagree.
    """
    pointer = directory / _CURRENT
    if not pointer.exists():
        raise VectorIndexError(f"{directory}: no index here. Build one with `recsys index build`, or correct the path.")
    try:
        named = json.loads(pointer.read_text())
        folder, checksum = directory / str(named["version"]), named["checksum"]
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise damaged(pointer, f"does not name a version ({type(cause).__name__})") from cause
    if Manifest.read(folder).checksum() != checksum:
        raise damaged(pointer, f"does not belong to {folder.name}/manifest.json")
    return folder


def read(folder: Path) -> Stored:
    """A version, every byte of it checked first.

    Raises:
        VectorIndexError: a file is missing, shortened, altered or foreign; it is named.
    """
    manifest = Manifest.read(folder)
    manifest.check(folder)
    payloads, log_end = log.read(folder / _LOG, _digest(manifest))
    vectors = SealedVectors.mapped(folder / "vectors.faiss")
    sealed = Sealed(
        ids=np.asarray(np.load(folder / "ids.npy", mmap_mode="r")),
        vectors=vectors,
        attributes=attribute_table.read(folder / "attributes.npz"),
        engine=engines.mapped(kinds.from_json(manifest.kind), folder / "approximate.faiss", vectors),
    )
    return Stored(folder, manifest, sealed, payloads, log_end)


def refuse_foreign(stored: Stored, fingerprint: str) -> None:
    """Check that a version was made for a bundle.

    Raises:
        VectorIndexError: it was made for another.
    """
    if stored.manifest.fingerprint != fingerprint:
        raise VectorIndexError(
            f"{stored.folder}: its fingerprint is {stored.manifest.fingerprint!r}, the bundle's {fingerprint!r}. "
            "It belongs to another bundle: build the index again from this one."
        )


def prepare(directory: Path, sealed: Sealed, kind: Kind, fingerprint: str, *, like: Path | None = None) -> Path:
    """Write a version beside the others, all but its log. Nothing points to it yet.

    ``like`` is a version of the same folder that holds the same block: its files are linked rather than written.
    """
    for left in directory.glob(f"*{_UNFINISHED}"):  # of a process that died
        shutil.rmtree(left)
    versions = [int(folder.name) for folder in directory.iterdir() if folder.name.isdigit()]
    version = f"{max(versions, default=0) + 1:06d}"
    part = directory / f"{version}{_UNFINISHED}"
    part.mkdir()
    if like is not None and like.parent == directory:
        files = Manifest.read(like).files
        for name in files:
            os.link(like / name, part / name)
    else:
        _write_files(part, sealed)
        files = {path.name: described(path) for path in sorted(part.iterdir())}
    Manifest(
        version=version,
        parent=current(directory).name if (directory / _CURRENT).exists() else None,
        fingerprint=fingerprint,
        kind=kinds.to_json(kind),
        dim=sealed.vectors.dim,
        rows=len(sealed),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        faiss=faiss.__version__,
        files=files,
    ).write(part)
    return part


def publish(part: Path, payloads: Iterable[bytes]) -> tuple[Path, LogWriter]:
    """Give a prepared version its log and make it the one that counts."""
    manifest = Manifest.read(part)
    writer = LogWriter.create(part / _LOG, _digest(manifest), payloads)
    sync(part)
    folder = part.with_suffix("")
    part.rename(folder)
    sync(folder.parent)
    _point_to(folder, manifest)
    try:  # the new version counts already: an old one that is in the way must stop nothing
        _prune(folder)
    except (OSError, VectorIndexError) as cause:
        logger.warning("Old versions beside %s could not be removed: %s", folder, cause)
    return folder, writer


def log_end(folder: Path) -> int:
    """The byte up to which the log of a version holds good records."""
    return log.read(folder / _LOG, _digest(Manifest.read(folder)))[1]


def log_writer(folder: Path) -> LogWriter:
    """The log of a version, to be continued after its last good record."""
    return LogWriter(folder / _LOG, _digest(Manifest.read(folder)), log_end(folder))


def lineage(directory: Path) -> list[Path]:
    """The versions that can be gone back to, the current one first."""
    folders = [current(directory)]
    while (parent := Manifest.read(folders[-1]).parent) and (directory / parent).is_dir():
        folders.append(directory / parent)
    return folders


def roll_back(directory: Path) -> Path:
    """Make the version before the current one count again, with the updates it had when it was replaced.

    Raises:
        VectorIndexError: no earlier version is kept, or it is damaged.
    """
    kept = lineage(directory)
    if len(kept) < 2:
        raise VectorIndexError(
            f"{directory}: version {kept[0].name} is the oldest that is kept; nothing to go back to."
        )
    stored = read(kept[1])
    _point_to(stored.folder, stored.manifest)
    return stored.folder


def _digest(manifest: Manifest) -> bytes:
    return bytes.fromhex(manifest.checksum())


def _point_to(folder: Path, manifest: Manifest) -> None:
    beside = folder.parent / f"{_CURRENT}.new"
    write_synced(beside, json.dumps({"version": folder.name, "checksum": manifest.checksum()}).encode())
    beside.replace(folder.parent / _CURRENT)
    sync(folder.parent)


def _prune(folder: Path) -> None:
    kept = lineage(folder.parent)[:VERSIONS_KEPT]
    for other in folder.parent.iterdir():
        if other.name.isdigit() and other not in kept:
            shutil.rmtree(other.rename(other.with_suffix(_UNFINISHED)))  # half a version must never look like one


def _write_files(part: Path, sealed: Sealed) -> None:
    np.save(part / "ids.npy", sealed.ids)
    sealed.vectors.write(part / "vectors.faiss")
    attribute_table.write(sealed.attributes, part / "attributes.npz")
    if sealed.engine is not sealed.vectors:
        sealed.engine.write(part / "approximate.faiss")
    for path in part.iterdir():
        sync(path)
