"""``recsys doctor``: what is installed, what does not fit together, and what to do about it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is installed and what does not fit together; the exit code is 1 where something is bad."""
    from serving.diagnosis import Verdict, examine

    findings = list(examine())
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(f"{finding.verdict:5} {finding.what:10} {finding.found}")
            if finding.remedy:
                typer.echo(f"{'':17}→ {finding.remedy}")
    if any(finding.verdict is Verdict.BAD for finding in findings):
        raise typer.Exit(1)
