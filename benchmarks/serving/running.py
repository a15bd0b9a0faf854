"""`recsys serve` as a process of its own, as anyone would start it, and its memory."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_LIMIT_S = 300


@dataclass(frozen=True)
class Running:
    """A service that answers."""

    url: str
    pid: int

    def megabytes(self) -> float:
        """Memory that is in use now, by all its processes."""
        return round(sum(_resident_kib(pid) for pid in (self.pid, *_children(self.pid))) / 1_024, 1)


@contextmanager
def running(bundle: Path, settings: Mapping[str, object]) -> Iterator[Running]:
    """A service of a bundle on a free port.

    Args:
        bundle: Its folder, or a link.
        settings: As in the environment, without RECSYS_: {"BATCH__MAX_REQUESTS": 1}.

    Raises:
        RuntimeError: It did not become ready.
    """
    command = [sys.executable, "-c", "from serving.cli import app; app()", "serve", "--bundle", str(bundle)]
    environment = os.environ | {f"RECSYS_{name}": str(value) for name, value in settings.items()}
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    try:
        words = process.stdout.readline().split()
        url = next((word.rstrip(",") for word in words if word.startswith("http")), "")
        _wait_until_ready(url, process)
        yield Running(url, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        process.stdout.close()


def _wait_until_ready(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_LIMIT_S
    ready = 0
    while ready < 5 and process.poll() is None and time.monotonic() < deadline:  # of several workers, most likely all
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                ready += 1
        except (OSError, ValueError):
            ready = 0
            time.sleep(0.2)
    if ready < 5:
        raise RuntimeError(f"the service did not become ready in {START_LIMIT_S} s; its log stands above")


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
