import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from typer.testing import CliRunner

from serving.cli import app
from serving.schemas import RecommendRequest
from tests.serving.asking import assert_same_items


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


def test_help_needs_no_torch():
    """It is the first thing anyone types: it must not take seconds."""
    program = "import sys, serving.cli; print([name for name in ('torch', 'polars', 'faiss') if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_help_names_every_verb():
    listed = invoke("--help").stdout
    for verb in ("train", "evaluate", "recommend", "serve", "data"):
        assert verb in listed


def test_recommend_as_json_is_what_the_service_answers(shop, service):
    result = invoke(
        "recommend", "--bundle", shop, "--user", "顾客3", "--requested-at", "2023-12-20T00:00+08:00", "-k", 4, "--json"
    )
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    expected = service.recommend(RecommendRequest(user_id="顾客3", requested_at=1_703_001_600, k=4))
    assert answer["requested_at"] == 1_703_001_600
    assert_same_items(answer["items"], expected.items)


def test_recommend_to_a_history_in_a_table(shop):
    result = invoke("recommend", "--bundle", shop, "--history", "shelf/04, shelf/05,shelf/xx", "--explain", "-k", 3)
    assert result.exit_code == 0
    assert "history" in result.stdout
    first = next(line for line in result.stdout.splitlines() if "shelf/06" in line)
    assert "第6号" in first
    assert "第5号" in first  # because of
    assert "'shelf/xx'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--bundle", "nowhere"], "nowhere: no bundle here"),
        (["--requested-at", "tomorrow"], "--requested-at tomorrow: no instant"),
        (["--requested-at", "1700000000000"], "looks like milliseconds"),
        (["--history", "x" * 1_001], "at most 1000 characters"),
    ],
)
def test_what_the_user_can_mend_is_one_clean_message(shop, arguments, words):
    result = invoke("recommend", "--bundle", shop, *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_serve_ends_with_code_1_and_the_reason_when_there_is_nothing_to_serve(tmp_path, caplog):
    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        result = invoke("serve", "--bundle", tmp_path, "--port", 0)
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)
    assert result.exit_code == 1
    assert "no bundle here" in caplog.text


def test_serve_says_when_the_port_is_taken(shop):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = invoke("serve", "--bundle", shop, "--port", taken.getsockname()[1])
    assert result.exit_code == 1
    assert "cannot listen at 127.0.0.1" in result.stderr


def test_recsys_serve_answers_and_stops_when_told(shop):
    """The real command, a real port, a real signal."""
    command = [
        sys.executable,
        "-c",
        "from serving.cli import app; app()",
        "serve",
        "--bundle",
        str(shop),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().split(" at ")[1].split(",")[0]
            wait_until_ready(url)
            status, answer = ask(f"{url}/v1/recommend", {"user_id": "顾客3", "k": 3})
            assert (status, answer["path"], len(answer["items"])) == (200, "personal", 3)
            status, problem = ask(f"{url}/v1/recommend", {"k": 0})
            assert (status, problem["status"]) == (422, 422)
            assert median_wait_s(url) < 0.03
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=10) == 0
            assert server.stderr.read() == ""
        finally:
            server.kill()


def ask(url, body=None):
    """The status and the JSON of an answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, json.load(problem)


def median_wait_s(url):
    """Of small questions over one connection: 40 ms where answers wait for the other side's confirmation."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    waits = []
    for _ in range(21):
        started = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        waits.append(time.perf_counter() - started)
    connection.close()
    return sorted(waits)[10]


def wait_until_ready(url):
    for _ in range(600):
        if ask(f"{url}/readyz")[0] == 200:
            return
        assert ask(f"{url}/healthz")[0] == 200
        time.sleep(0.05)
    raise AssertionError("never ready")
