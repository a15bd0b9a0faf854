"""Everything a killed training needs to go on as if nothing had happened: tensors as safetensors, numbers as JSON.

No pickle: a checkpoint can be opened without trusting who wrote it.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

_TENSORS, _NUMBERS = "state.safetensors", "state.json"


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: Optimizer,
    best: dict[str, Tensor],
    stream: dict[str, Tensor],
    numbers: dict[str, Any],
) -> None:
    """Write the state beside ``folder``, then put it in its place in one step.

    Args:
        folder: Replaced as a whole.
        model: Its current weights.
        optimizer: Its moments and step counts; the learning rate follows from ``numbers``.
        best: Weights of the best epoch so far.
        stream: What was learnt from the batches that passed, besides weights; may be empty.
        numbers: What JSON can hold: epoch, step, best score, the curve.
    """
    beside = folder.with_name(folder.name + ".new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best/{name}": value for name, value in best.items()}
    tensors |= {f"stream/{name}": value for name, value in stream.items()}
    tensors["rng/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["rng/cuda"] = torch.cuda.get_rng_state()
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{number}/{key}": torch.as_tensor(value) for key, value in state.items()}
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, beside / _TENSORS)
    (beside / _NUMBERS).write_text(json.dumps(numbers))
    _sync(beside)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: Optimizer
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]] | None:
    """Put the saved state into the model, the optimiser and the random generators.

    Returns:
        The best weights, the stream and the numbers, or None when nothing was saved.
    """
    old = folder.with_name(folder.name + ".old")
    if not folder.exists() and old.exists():  # killed between the two renames
        old.rename(folder)
    if not folder.exists():
        return None
    tensors = load_file(folder / _TENSORS)
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "stream": {}, "rng": {}, "optimizer": {}}
    for name, value in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = value
    model.load_state_dict(groups["model"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in groups["optimizer"].items():
        number, _, key = name.partition("/")
        moments.setdefault(int(number), {})[key] = value
    state = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    torch.set_rng_state(groups["rng"]["cpu"])
    if "cuda" in groups["rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state(groups["rng"]["cuda"])
    return groups["best"], groups["stream"], json.loads((folder / _NUMBERS).read_text())


def _sync(folder: Path) -> None:
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
