"""``recsys demo``: the whole way on real data, from fetching it to a question the running service answers."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from serving.train_commands import Override, Seed, print_report, train_files

START_LIMIT_S = 120


def demo(
    out: Annotated[Path, typer.Option(help="The bundle's folder.")] = Path("runs/demo"),
    data: Annotated[Path, typer.Option(help="Where ml-100k lies or is fetched to.")] = Path("data/ml-100k"),
    interactions: Annotated[Path | None, typer.Option(help="Your own table instead of ml-100k.")] = None,
    items: Annotated[Path | None, typer.Option(help="Its items.")] = None,
    override: Override = None,
    seed: Seed = 0,
) -> None:
    """Fetch MovieLens-100K, train, evaluate beside the baselines, serve, and ask for ten films.

    The service runs until Ctrl-C; with DEMO_EXIT=1 in the environment it is stopped at once.
    """
    from recsys.card import model_card
    from recsys.config import read_config
    from recsys.fetch import ML_100K_TERMS, fetch_ml_100k
    from recsys.report import Protocol, evaluate_bundle, save_report
    from serving.index_report import index_section

    if interactions is None:
        _say("1  Data", f"MovieLens-100K in {data}. {ML_100K_TERMS}")
        fetch_ml_100k(data)
        interactions, items = data / "interactions.parquet", data / "items.parquet"
    else:
        _say("1  Data", str(interactions))

    _say("2  Train", "two towers, learnt from everything but each user's last two choices")
    knobs = read_config(overrides=["split.kind=leave-one-out", f"seed={seed}", *(override or [])])
    bundle = train_files(interactions, items, knobs, out)

    _say("3  Evaluate", "each user's last choice, found among the whole catalogue")
    metrics, rankings, cases = evaluate_bundle(bundle, Protocol(request_time=True), seed=seed)
    metrics |= index_section(bundle, out)
    save_report(out, metrics, rankings, cases, card=model_card(bundle, metrics))
    print_report(metrics)

    _say("4  Serve", f"recsys serve --bundle {out}")
    service, url = start_service(out)
    try:
        question = _question(bundle)
        answer = ask(f"{url}/v1/recommend", question)
        _show(question, answer)
        typer.echo(f"\ncurl -s {url}/v1/recommend -H 'content-type: application/json' -d '{json.dumps(question)}'")
        typer.echo(f"\n{out} holds the bundle, its index and the report. The API is described at {url}/docs")
        if os.environ.get("DEMO_EXIT") != "1":
            typer.echo("Ctrl-C stops the service.")
            service.wait()
    except KeyboardInterrupt:
        pass
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(timeout=30)


def start_service(bundle: Path) -> tuple[subprocess.Popen[str], str]:
    """Start ``recsys serve`` on a free port and wait until it is ready.

    Returns:
        The process and its URL.

    Raises:
        RuntimeError: It ended, or was not ready in two minutes.
    """
    command = [sys.executable, "-c", "from serving.cli import app; app()", "serve", "--bundle", str(bundle)]
    service = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    output: IO[str] = service.stdout  # type: ignore[assignment]  # a pipe was asked for
    url = next((word.rstrip(",") for word in output.readline().split() if word.startswith("http")), None)
    deadline = time.monotonic() + START_LIMIT_S
    while url and service.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                return service, url
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    service.kill()
    raise RuntimeError(f"the service of {bundle} did not become ready in {START_LIMIT_S} s; its log stands above")


def ask(url: str, question: dict[str, Any]) -> dict[str, Any]:
    """POST a question as JSON and read the answer."""
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(url, json.dumps(question).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


def _question(bundle: Any) -> dict[str, Any]:
    """Ten items for the first user of the table, an hour after their newest event; with a clock, that instant."""
    table = bundle.interactions
    question: dict[str, Any] = {"user_id": table.user_ids[0], "k": 10, "explain": True}
    if table.occurred_at is not None:
        question["requested_at"] = int(table.occurred_at[table.of_user(0)][-1]) + 3600
    return question


def _show(question: dict[str, Any], answer: dict[str, Any]) -> None:
    typer.echo(f"Ten items for user {question['user_id']} ({answer['path']}, {answer['timings_ms']['total']:.1f} ms):")
    for rank, item in enumerate(answer["items"], start=1):
        reasons = item.get("reasons", {})
        because = [carrier["title"] or carrier["item_id"] for carrier in reasons.get("followed", [])[:2]]
        because = because or [carrier["title"] or carrier["item_id"] for carrier in reasons.get("alike", [])[:1]]
        typer.echo(f"{rank:3}  {item['title'] or item['item_id']:<50} because of {', '.join(because)}")


def _say(step: str, what: str) -> None:
    typer.echo(f"\n{step}: {what}", err=True)
