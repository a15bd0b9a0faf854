"""Notices that the folder of a bundle, or the link in its place, now holds another one, and lets that take over."""

import asyncio
import logging
from pathlib import Path

from recsys.bundle import MANIFEST
from serving.owner import ServiceOwner
from serving.variant import SwapRefusedError, Variant

logger = logging.getLogger(__name__)

Stamp = tuple[Path, int, int]


async def watch(owner: ServiceOwner, variant: Variant, folder: Path, *, every_s: float) -> None:
    """Look again and again until cancelled. A bundle that was refused is tried again only when it has changed."""
    seen = stamp(folder)
    while True:
        await asyncio.sleep(every_s)
        if (found := stamp(folder)) in (None, seen):
            continue
        seen = found
        try:
            now, _ = await owner.change(variant.swap)
        except SwapRefusedError as refusal:
            logger.error("%s: what ran goes on. %s", folder, refusal)
        else:
            logger.info("%s: bundle %s answers now.", folder, now.bundle.fingerprint[:12])


def stamp(folder: Path) -> Stamp | None:
    """Where the folder leads, and which manifest lies there; None where there is none, as between two renames."""
    try:
        place = folder.resolve()
        manifest = (place / MANIFEST).stat()
    except OSError:
        return None
    return place, manifest.st_ino, manifest.st_mtime_ns
