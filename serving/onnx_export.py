"""A bundle's user tower as ONNX files beside its weights: float32, and int8 weights that are read four times as fast.

The graph gives the vector of the newest event alone. Item vectors go in from outside, so that items which came since
are read as well. Each file says which bundle it belongs to.

B histories, H events, D width.
"""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsys.bundle import Bundle, write_manifest
from recsys.errors import InputError
from recsys.histories import Histories, gather_histories
from recsys.newest import newest_vectors
from recsys.towers import UserTower

FLOAT = "user_tower.onnx"
INT8 = "user_tower.int8.onnx"
FINGERPRINT = "fingerprint"
"""Under which name a file says whose it is."""
INPUTS = ("item_idx", "event", "value", "occurred_at", "asked_at", "item_vectors")


class NewestVector(nn.Module):
    """The user tower with plain tensors going in, and one vector for each history coming out."""

    def __init__(self, tower: UserTower) -> None:
        super().__init__()
        self.tower = tower

    def forward(
        self, item_idx: Tensor, event: Tensor, value: Tensor, occurred_at: Tensor, asked_at: Tensor, vectors: Tensor
    ) -> Tensor:  # (B, D)
        """Five times (B, H), as in `Histories`, and the (B, H, D) vectors of the items."""
        histories = Histories(item_idx, event, value, occurred_at, asked_at)
        return newest_vectors(self.tower, histories, vectors)


def export_user_tower(bundle: Bundle, folder: Path) -> list[Path]:
    """Write both files into the bundle's folder and list them in its manifest.

    Raises:
        InputError: The extra `onnx` is not installed, or the tower has a part that ONNX cannot say.
    """
    try:
        import onnx
        from onnxruntime.quantization import quantize_dynamic
    except ImportError as missing:
        raise InputError(f"export onnx: {missing.name} is missing. pip install 'two-tower-recsys[onnx]'.") from None

    exact, small = folder / FLOAT, folder / INT8
    _export(bundle, exact)
    with _quiet():
        # One scale for a whole matrix loses the ranking (mean cosine .965); one for each row keeps it (.9925).
        quantize_dynamic(exact, small, per_channel=True)
    for path in (exact, small):
        model = onnx.load(path)
        onnx.helper.set_model_props(model, {FINGERPRINT: bundle.fingerprint})
        onnx.save(model, path)
    write_manifest(folder)
    return [exact, small]


def _export(bundle: Bundle, path: Path) -> None:
    tower = copy.deepcopy(bundle.model.user_tower)
    if tower.bert is not None:
        # The fused attention leaves strides that the exporter cannot follow; the plain one computes the same.
        tower.bert.set_attn_implementation("eager")
    example = history_sample(bundle, most=3)  # one alone, its size would be taken for a constant
    inputs = [getattr(example, name) for name in INPUTS[:-1]]
    vectors = F.embedding(example.item_idx, torch.from_numpy(bundle.item_vectors))
    rows, length = torch.export.Dim("B"), torch.export.Dim("H")
    try:
        with _quiet():
            program = torch.onnx.export(
                NewestVector(tower).eval(),
                (*inputs, vectors),
                dynamo=True,
                verbose=False,
                input_names=list(INPUTS),
                output_names=["user_vectors"],
                dynamic_shapes=tuple({0: rows, 1: length} for _ in INPUTS),
            )
    except Exception as problem:
        first = str(problem).strip().splitlines()[0]
        raise InputError(
            f"export onnx: this bundle's user tower cannot be exported ({first}). It is served by torch all the same."
        ) from problem
    assert program is not None
    program.save(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' progress and warnings, none of which a user could act on."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(disabled)


def history_sample(bundle: Bundle, *, most: int) -> Histories:
    """Stored histories of users from all over the table, as requests would read them.

    Args:
        bundle: Whose.
        most: How many.
    """
    interactions = bundle.interactions
    users = np.unique(np.linspace(0, len(interactions.user_ids) - 1, most).astype(np.int64))
    stops = interactions.starts[users + 1]
    asked = None if interactions.occurred_at is None else interactions.occurred_at[stops - 1] + 3_600
    return gather_histories(
        interactions,
        interactions.starts[users],
        stops,
        length=bundle.config.user_tower.history_length,
        requested_at=asked if bundle.config.user_tower.request_time else None,
    )
