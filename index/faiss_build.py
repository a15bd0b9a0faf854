"""Which build of FAISS is at hand: its version, its GPU support, and whether two builds overwrite each other.

FAISS is imported only when it is asked about: that it cannot be is for `recsys doctor` to tell.
"""

import importlib.metadata
from dataclasses import dataclass
from functools import cache

from index.errors import VectorIndexError

_DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs", "faiss-gpu-cu11", "faiss-gpu-cu12", "faiss-cuda")


@dataclass(frozen=True)
class FaissBuild:
    """What ``import faiss`` brought."""

    version: str
    options: str
    """How it was compiled, in its own words."""
    distributions: tuple[str, ...]
    """The installed packages that own the folder ``faiss/``; more than one is a fault."""
    gpu_code: bool
    """Whether it has GPU indexes at all."""
    cuvs: bool
    """Whether it is the cuVS build, which has CAGRA."""
    gpus: int
    """How many GPUs it sees."""


@cache
def at_hand() -> FaissBuild:
    """The build of this process.

    Raises:
        ImportError, OSError, RuntimeError: there is none, or a library it needs is missing.
    """
    import faiss

    options = faiss.get_compile_options().strip()
    return FaissBuild(
        version=faiss.__version__,
        options=options,
        distributions=installed(),
        gpu_code=hasattr(faiss, "StandardGpuResources"),
        cuvs="CUVS" in options.upper() and hasattr(faiss, "GpuIndexCagra"),
        gpus=faiss.get_num_gpus(),
    )


def installed() -> tuple[str, ...]:
    """The FAISS packages that are installed, with their versions."""
    found = []
    for name in _DISTRIBUTIONS:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


@cache
def refuse_a_double_install() -> None:
    """Check, once, that FAISS was installed once.

    Raises:
        VectorIndexError: as ``refuse_two``.
    """
    refuse_two(installed())


def refuse_two(distributions: tuple[str, ...]) -> None:
    """Check that one build of FAISS is installed, not two in one folder.

    Raises:
        VectorIndexError: there are several; whichever came last wins, and removing one breaks the other.
    """
    if len(distributions) > 1:
        names = " ".join(name.split()[0] for name in distributions)
        raise VectorIndexError(
            f"site-packages/faiss belongs to {' and '.join(distributions)}; the last one installed wins, in silence. "
            f"Run `pip uninstall -y {names}`, then install one of the extras cpu, gpu, gpu-cuvs."
        )
