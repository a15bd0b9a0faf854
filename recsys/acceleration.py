"""The device that trains: one process or many, and bf16 where the hardware multiplies it."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator

from recsys.config import TrainConfig
from recsys.errors import InputError

TRACKER = "tracker"
"""The folder of the tracker's files, in the run's and then in the bundle's."""
SHAPE_CACHES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
"""What torch and oneDNN call the number of products that they keep ready on a CPU, each for operands of one shape."""
SHAPES_KEPT = "32"
"""No two batches are of one shape: a thousand products kept ready for them took half of a training's memory."""


def make_accelerator(knobs: TrainConfig, folder: Path) -> Accelerator:
    """One process or many, on the device asked for, with the tracker started."""
    for cache in SHAPE_CACHES:
        os.environ.setdefault(cache, SHAPES_KEPT)  # read at the first product
    try:
        accelerator = Accelerator(
            cpu=knobs.device == "cpu",
            gradient_accumulation_steps=knobs.accumulation,
            log_with=None if knobs.tracker == "none" else knobs.tracker,
            project_dir=folder,
        )
        accelerator.init_trackers(TRACKER)
    except (ValueError, ImportError) as problem:
        raise InputError(
            f"train.tracker = {knobs.tracker!r}: {problem} Take none, or an installed one that accelerate knows."
        ) from None
    if knobs.device == "cuda" and accelerator.device.type != "cuda":
        raise InputError(
            "train.device is cuda, but torch sees no CUDA device. Pass train.device=auto, or mend the driver."
        )
    return accelerator


def autocast(device: torch.device, knobs: TrainConfig) -> torch.autocast:
    """bf16 for matrix products where the config and the device want it."""
    wanted = knobs.precision == "bf16" or (knobs.precision == "auto" and bf16_is_fast(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=wanted)


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware; elsewhere it is emulated, and slower than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported())
