import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("rounds", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_sigkill_loses_nothing_acknowledged(tmp_path, rounds):
    script = Path(__file__).with_name("kill_rounds.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path / "index", str(rounds), "7"],
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": ".", "PATH": "", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{rounds} kills" in done.stdout
    steps, versions = int(done.stdout.split()[2]), int(done.stdout.split()[4])
    assert steps > rounds  # it was killed at work, not asleep
    assert versions > 2
