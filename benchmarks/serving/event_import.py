"""Events of a table into the store by `recsys events import`, as anyone would run it."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl

USERS = 200_000
ITEMS = 20_000


def measure(bundle: Path, scratch: Path, *, events: int) -> dict[str, Any]:
    """Seconds by the clock and seconds of a processor, start of the command included.

    Args:
        bundle: Whose store is filled; it is a store of its own, in ``scratch``.
        scratch: A folder.
        events: How many, of so many users that most have a few.
    """
    table = scratch / "events.parquet"
    _invented(events).write_parquet(table)
    command = [sys.executable, "-c", "from serving.cli import app; app()", "events", "import", "--json"]
    command += ["--bundle", str(bundle), "--interactions", str(table)]
    environment = os.environ | {"RECSYS_STATE__FOLDER": str(scratch / "imported")}
    worked_before, started = _worked_s(), perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    waited_s = perf_counter() - started
    told = json.loads(done.stdout)
    return {
        "events": told["new"],
        "seconds": round(waited_s, 1),
        "processor_seconds": round(_worked_s() - worked_before, 1),
    }


def _invented(events: int) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "user_id": rng.integers(USERS, size=events).astype(str),
            "item_id": rng.integers(ITEMS, size=events).astype(str),
            "occurred_at": 1_700_000_000 + rng.permutation(events),
            "event": rng.choice(["view", "buy"], events),
            "value": rng.random(events),
        }
    )


def _worked_s() -> float:
    """Of all the processes that this one started and that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
