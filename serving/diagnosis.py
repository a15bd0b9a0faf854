"""What is installed here, what does not fit together, and what to do about it: one finding for each thing looked at."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = "two-tower-recsys"
FAISS_EXTRAS = ("cpu", "gpu", "gpu-cuvs")

_GPU_SEARCH = """
import faiss, numpy
index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), 8)
index.add(numpy.eye(8, dtype="float32"))
print(index.search(numpy.eye(8, dtype="float32"), 1)[1].tolist() == [[row] for row in range(8)])
"""


class Verdict(StrEnum):
    """How a finding is to be taken."""

    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine() -> Iterator[Finding]:
    """Look at everything."""
    yield Finding("python", Verdict.GOOD, f"{platform.python_version()} at {sys.executable}")
    yield processor()
    gpus = graphics_cards()
    yield torch_build(gpus)
    yield from faiss_build(gpus)
    yield from extras()
    yield from encoders()


def processor() -> Finding:
    """Cores, and the instructions that matter to FAISS and torch."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().split()) if cpuinfo.exists() else set()
    wanted = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve") if name in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{cores} cores, {platform.machine()}, {' '.join(wanted) or 'instructions unknown'}"
    if flags and not {"avx2", "asimd"} & flags:
        return Finding("cpu", Verdict.NOTE, found, "FAISS is several times slower without AVX2: take another machine.")
    return Finding("cpu", Verdict.GOOD, found)


def graphics_cards() -> list[str]:
    """What the NVIDIA driver lists, one line for each card."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run(
        [program, "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return [line for line in listed.stdout.splitlines() if line.strip()] if listed.returncode == 0 else []


def torch_build(gpus: list[str]) -> Finding:
    """Whether torch sees the GPU and has kernels for it."""
    import torch

    found = f"{torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    if not gpus:
        return Finding("torch", Verdict.GOOD, f"{found}; no NVIDIA GPU, everything runs on the CPU")
    if not torch.cuda.is_available():
        return Finding(
            "torch",
            Verdict.BAD,
            f"{found}; the GPU ({gpus[0]}) is not used",
            "Install the CUDA build: pip install --force-reinstall torch with the index of your CUDA version.",
        )
    major, minor = torch.cuda.get_device_capability()
    built_for = torch.cuda.get_arch_list()
    if not has_kernels(built_for, major, minor):
        return Finding(
            "torch",
            Verdict.BAD,
            f"{found}; no kernels for {gpus[0]} (sm_{major}{minor}; built for {' '.join(built_for)})",
            "Install a torch built for this card: a newer release for a newer card, an older one for an older card.",
        )
    return Finding("torch", Verdict.GOOD, f"{found} on {gpus[0]}")


def has_kernels(built_for: list[str], major: int, minor: int) -> bool:
    """Whether code for one of these architectures runs on a card of this capability.

    Machine code (sm_) runs on the same major version and the same or a later minor; portable code (compute_) on any
    later card.

    Example:
        >>> has_kernels(["sm_80", "sm_90"], 8, 6), has_kernels(["sm_80"], 9, 0)
        (True, False)
    """
    for name in built_for:
        kind, _, digits = name.partition("_")
        digits = digits.rstrip("af")
        built_major, built_minor = int(digits[:-1]), int(digits[-1])
        if kind == "sm" and built_major == major and built_minor <= minor:
            return True
        if kind == "compute" and (built_major, built_minor) <= (major, minor):
            return True
    return False


def faiss_build(gpus: list[str]) -> Iterator[Finding]:
    """Whether one FAISS is installed, and whether it can use the GPU."""
    from index.errors import VectorIndexError
    from index.faiss_build import at_hand, installed, refuse_two

    distributions = installed()
    if not distributions:
        yield Finding("faiss", Verdict.BAD, "not installed", "Install one of the extras cpu, gpu, gpu-cuvs.")
        return
    try:
        refuse_two(distributions)
    except VectorIndexError as refusal:
        yield Finding("faiss", Verdict.BAD, *_split(str(refusal)))
        return
    try:
        build = at_hand()
    except (ImportError, OSError, RuntimeError) as cause:
        names = " ".join(name.split()[0] for name in distributions)
        remedy = f"Run `pip uninstall -y {names}`, then install one of the extras cpu, gpu, gpu-cuvs, whole."
        yield Finding("faiss", Verdict.BAD, f"{', '.join(distributions)}, which cannot be imported: {cause}", remedy)
        return
    found = f"{', '.join(distributions)}, compiled for {build.options}"
    if not gpus:
        yield Finding("faiss", Verdict.GOOD, found)
    elif not build.gpu_code:
        remedy = "pip uninstall -y faiss-cpu, then install the extra gpu: exact search on a GPU is far quicker."
        yield Finding("faiss", Verdict.NOTE, f"{found}; the CPU build, the GPU is not used", remedy)
    elif not build.gpus:
        yield Finding("faiss", Verdict.BAD, f"{found}; sees no GPU", "Update the driver: it is older than this CUDA.")
    elif (problem := gpu_search_problem()) is not None:
        yield Finding(
            "faiss",
            Verdict.BAD,
            f"{found}; a search on {gpus[0]} fails: {problem}",
            "This wheel has no kernels for this card. faiss-gpu and faiss-gpu-cuvs 1.15 have them for sm_70 to sm_90.",
        )
    else:
        yield Finding("faiss", Verdict.GOOD, f"{found}, {'cuVS' if build.cuvs else 'without cuVS'}, on {gpus[0]}")


def gpu_search_problem() -> str | None:
    """What goes wrong in a small search on the GPU. In a process of its own: a missing kernel can end the process."""
    command = [sys.executable, "-c", _GPU_SEARCH]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if tried.returncode == 0 and tried.stdout.strip() == "True":
        return None
    return (tried.stderr.strip().splitlines() or [f"exit code {tried.returncode}, wrong answer"])[-1]


def extras() -> Iterator[Finding]:
    """Which extras are complete. FAISS's three exclude each other and are looked at apart."""
    install = "pip install -c constraints.txt -e '.[{}]'"
    try:
        requirements = list(map(Requirement, importlib.metadata.requires(PROJECT) or ()))
        names = importlib.metadata.metadata(PROJECT).get_all("Provides-Extra") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("extras", Verdict.NOTE, f"{PROJECT} is not installed", install.format("cpu,serve"))
        return
    for name in sorted(set(names) - set(FAISS_EXTRAS)):
        missing = [r.name for r in requirements if _is_of(r, name) and not _installed(r)]
        if missing:
            remedy = f"Where it is wanted: {install.format(name)}"
            yield Finding("extra", Verdict.NOTE, f"{name}: without {', '.join(missing)}", remedy)
        else:
            yield Finding("extra", Verdict.GOOD, f"{name}: complete")


def encoders() -> Iterator[Finding]:
    """Which sentence encoders are at hand without a hub."""
    from recsys.encoder_folders import PACKAGED

    for name, package in PACKAGED.items():
        if importlib.util.find_spec(package.module) is None:
            yield Finding("encoder", Verdict.NOTE, f"{name}: not at hand", f"Where it is wanted: {package.install}")
        else:
            yield Finding("encoder", Verdict.GOOD, name)


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _installed(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False


def _split(message: str) -> tuple[str, str]:
    """An error as what was found and the remedy, which starts with Run."""
    found, _, remedy = message.partition(" Run ")
    return found, f"Run {remedy}"
