"""The audit of dependencies: what is known, what is not, and that nobody was asked, are three things."""

import runpy
import subprocess
from pathlib import Path

import pytest

AUDIT = runpy.run_path(str(Path(__file__).parent.parent / ".ci" / "audit.py"))
FINE = '{"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not on PyPI"}]}'
KNOWN = FINE.replace('"vulns": []', '"vulns": [{"id": "CVE-1", "fix_versions": ["2", "3"]}]')
NOBODY = '{"dependencies": [{"name": "b", "skip_reason": "Dependency not found on PyPI"}]}'


def audit(monkeypatch, *reports):
    """The exit status where the services answer so, one after the other."""
    answers = iter(reports)
    asked = []

    def run(command, **_):
        asked.append(command[-1])
        return subprocess.CompletedProcess(command, 1, next(answers), "requests.ConnectionError: no route")

    monkeypatch.setattr(subprocess, "run", run)
    return AUDIT["main"](), asked


@pytest.mark.parametrize(
    ("reports", "status", "asked", "words"),
    [
        ([FINE], 0, ["pypi"], "nothing known of 1 packages; 1 are not on pypi"),
        ([KNOWN], 1, ["pypi"], "a 1: CVE-1, mended in 2, 3"),
        ([NOBODY, KNOWN], 1, ["pypi", "osv"], "a 1: CVE-1"),
        ([NOBODY, ""], 0, ["pypi", "osv"], "NOTHING WAS AUDITED"),
        (["", FINE], 0, ["pypi", "osv"], "pypi cannot be asked: requests.ConnectionError: no route"),
    ],
)
def test_what_is_known_and_that_nobody_was_asked_are_told_apart(monkeypatch, capsys, reports, status, asked, words):
    assert audit(monkeypatch, *reports) == (status, asked)
    assert words in capsys.readouterr().out
