"""In what the user tower runs: torch, or ONNX Runtime where `recsys export onnx` was run and it is quicker here.

Which is quicker depends on the machine, so it is measured when the bundle is loaded; and a quick one that would rank
otherwise than torch is passed over.

B histories, D width.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from recsys.bundle import read_manifest
from recsys.embed import embed_histories
from recsys.errors import InputError
from recsys.histories import Histories
from recsys.rerank import Reranking
from serving.drift import QueryDrift
from serving.onnx_export import FINGERPRINT, FLOAT, INPUTS, INT8, history_sample
from serving.service import Service
from serving.settings import TowerSettings
from serving.vector_cache import Encode, VectorCache

FILES = {"onnx": FLOAT, "onnx-int8": INT8}
TORCH = "torch"
SAMPLE = 32
"""Histories that a runtime is measured on."""
TOGETHER = 8
"""How many at once in the second measurement: what is quick alone and what is quick together counts alike."""
ROUNDS = 5
K = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Runtime:
    """A way to compute user vectors, and how it did."""

    name: str
    encode: Encode
    ms: float
    """For one history: the geometric mean of alone and together."""
    agreement: float
    """The share of torch's ten nearest items that it finds too."""


class OnnxTower:
    """An `Encode` by ONNX Runtime. One thread uses it, and it uses one."""

    def __init__(self, path: Path, item_vectors: Tensor, *, fingerprint: str) -> None:
        """Open a file of `export_user_tower`.

        Args:
            path: The file.
            item_vectors: (at least N + 1, D) by item_idx, looked up at every call.
            fingerprint: Of the bundle it must belong to.

        Raises:
            InputError: It is another bundle's.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        found = self._session.get_modelmeta().custom_metadata_map.get(FINGERPRINT, "")
        if found != fingerprint:
            raise InputError(
                f"{path}: exported from bundle {found[:12] or 'unknown'}, not from {fingerprint[:12]}. "
                "Export it again with `recsys export onnx`."
            )
        self._asks_for = [one.name for one in self._session.get_inputs()]  # what a tower does not read is left out
        self._item_vectors = item_vectors

    def __call__(self, histories: Histories) -> Tensor:
        """(B, D) unit rows; zeros for an empty history."""
        given = {name: getattr(histories, name).numpy() for name in INPUTS[:-1]}
        given[INPUTS[-1]] = F.embedding(histories.item_idx, self._item_vectors).numpy()
        (vectors,) = self._session.run(None, {name: given[name] for name in self._asks_for})
        empty = (histories.item_idx == 0).all(1, keepdim=True)
        return torch.from_numpy(vectors).masked_fill(empty, 0.0)


def with_quickest_tower(service: Service, folder: Path, settings: TowerSettings) -> Service:
    """The same service with user vectors from the quickest runtime that agrees with torch, remembered and watched.

    What the reranker has read of histories is remembered as well, as many as user vectors are.

    Raises:
        InputError: The runtime that the settings name is not there or does not agree; or a file is damaged or another
            bundle's.
    """
    chosen = choose(service, folder, settings)
    drift = QueryDrift(service.bundle.query_vectors) if len(service.bundle.query_vectors) else None
    cache = VectorCache(chosen.encode, most=settings.cached_vectors, drift=drift, runtime=chosen.name)
    reorder, opinions = service.recommender.reorder, None
    if isinstance(reorder, Reranking):
        read = partial(reorder.reranker.evidence.read, item_vectors=reorder.item_vectors)
        opinions = VectorCache(read, most=settings.cached_vectors)
    return replace(service, encode=cache, opinions=opinions)


def choose(service: Service, folder: Path, settings: TowerSettings) -> Runtime:
    """Measure what there is and take the quickest that agrees, or what the settings name.

    Raises:
        InputError: As `with_quickest_tower`.
    """
    item_vectors = service.recommender.item_vectors
    by_torch = partial(embed_histories, service.bundle.model, item_vectors)
    if settings.runtime == TORCH or not any((folder / name).exists() for name in FILES.values()):
        if settings.runtime in FILES:
            raise InputError(
                f"{folder / FILES[settings.runtime]}: missing, and the setting tower.runtime asks for it. "
                f"Run `recsys export onnx --bundle {folder}`."
            )
        return Runtime(TORCH, by_torch, ms=0.0, agreement=1.0)
    sample = history_sample(service.bundle, most=SAMPLE)
    expected = _nearest(service, by_torch(sample))
    offered: list[tuple[str, Encode]] = [(TORCH, by_torch), *_onnx_towers(service, folder, settings)]
    measured = []
    for name, encode in offered:
        agreement = _agreement(_nearest(service, encode(sample)), expected)
        measured.append(Runtime(name, encode, _milliseconds(encode, sample), agreement))
        logger.info("User tower by %s: %.2f ms, agreement %.3f", name, measured[-1].ms, agreement)
    return take(measured, settings)


def take(measured: Sequence[Runtime], settings: TowerSettings) -> Runtime:
    """The quickest that agrees, or the one that the settings name.

    Raises:
        InputError: The one that is named is not among them, or does not agree.
    """
    agreeing = [one for one in measured if one.agreement >= settings.min_agreement]
    if settings.runtime == "auto":
        return min(agreeing, key=lambda one: one.ms)  # torch agrees with itself
    for one in agreeing:
        if one.name == settings.runtime:
            return one
    found = next((f"{one.agreement:.3f}" for one in measured if one.name == settings.runtime), "nothing")
    raise InputError(
        f"setting tower.runtime: {settings.runtime} finds {found} of torch's ten nearest items, and "
        f"tower.min_agreement asks for {settings.min_agreement}. Take another runtime, or torch."
    )


def _onnx_towers(service: Service, folder: Path, settings: TowerSettings) -> Iterator[tuple[str, Encode]]:
    try:
        import onnxruntime  # noqa: F401 - only whether it is there
    except ImportError:
        if settings.runtime in FILES:
            raise InputError("setting tower.runtime: pip install 'two-tower-recsys[onnx]' for ONNX Runtime.") from None
        logger.info("The bundle has an ONNX user tower, and ONNX Runtime is not installed.")
        return
    listed = read_manifest(folder)["files"]
    for name, file in FILES.items():
        if (path := folder / file).exists():
            _check(path, listed.get(file))
            tower = OnnxTower(path, service.recommender.item_vectors, fingerprint=service.bundle.fingerprint)
            yield name, tower


def _check(path: Path, expected: str | None) -> None:
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise InputError(f"{path}: not the file the manifest lists. Export it again with `recsys export onnx`.")


def _milliseconds(encode: Encode, sample: Histories) -> float:
    count = len(sample.item_idx)
    alone = [_rows(sample, row, row + 1) for row in range(0, count, max(1, count // 8))]
    together = [_rows(sample, row, row + TOGETHER) for row in range(0, count, TOGETHER)]
    alone_ms = median(_timed(encode, batch) for _ in range(ROUNDS) for batch in alone)
    together_ms = median(_timed(encode, batch) / len(batch.item_idx) for _ in range(ROUNDS) for batch in together)
    return float(np.sqrt(alone_ms * together_ms))


def _timed(encode: Encode, batch: Histories) -> float:
    started = perf_counter()
    encode(batch)
    return (perf_counter() - started) * 1_000


def _rows(histories: Histories, first: int, last: int) -> Histories:
    """Some of the histories, without the columns that are padding in all of them."""
    length = max(int((histories.item_idx[first:last] > 0).sum(1).max()), 1)
    parts = {field.name: getattr(histories, field.name)[first:last, :length] for field in fields(Histories)}
    return Histories(**{name: part.contiguous() for name, part in parts.items()})


def _nearest(service: Service, users: Tensor) -> list[set[int]]:
    ids, _ = service.recommender.search(users.numpy(), min(K, len(service.index)))
    return [set(row.tolist()) for row in ids]


def _agreement(found: Sequence[set[int]], expected: Sequence[set[int]]) -> float:
    return float(np.mean([len(mine & theirs) / len(theirs) for mine, theirs in zip(found, expected, strict=True)]))
