"""What the process writes on standard error, read as a collector would."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import logging
from serving.logs import configure_logs
from serving.request_log import request_id
from serving.settings import LogSettings

configure_logs(LogSettings(level="info", format={format!r}))
request_id.set("abc-1")
logger = logging.getLogger("serving.request_log")
logger.debug("too quiet")
logger.info("request", extra={{"route": "/v1/model", "status": 200, "ms": 1.5, "headers": "authorization: secret"}})
try:
    password = "hunter2"
    raise ValueError("茶")
except ValueError:
    logger.exception("It broke.")
"""


def lines(form):
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(format=form)], capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    assert "secret" not in ran.stderr
    assert "hunter2" not in ran.stderr.replace('password = "hunter2"', "")
    return ran.stderr.splitlines()


def test_json_is_one_object_a_line():
    request, failure = (json.loads(line) for line in lines("json"))
    assert request.pop("timestamp").endswith("Z")
    assert request == {
        "event": "request",
        "level": "info",
        "logger": "serving.request_log",
        "route": "/v1/model",
        "status": 200,
        "ms": 1.5,
        "request_id": "abc-1",
    }
    assert failure["event"] == "It broke."
    assert "ValueError: 茶" in failure["exception"]


def test_text_is_one_line_for_each_thing_said():
    first, *_ = lines("text")
    assert "level=info" in first
    assert "event=request" in first
    assert "request_id=abc-1" in first


def test_settings_hold_the_key_that_hides_users():
    from serving.logs import user_tags
    from serving.settings import LogSettings

    one, same, other = (user_tags(LogSettings(user_key=key)) for key in ("a", "a", "b"))
    assert one("顾客3") == same("顾客3") != other("顾客3")
    assert one("顾客3") != one("顾客4")
    assert len(one("顾客3")) == 16
    assert user_tags(LogSettings())("x") != user_tags(LogSettings())("x")  # a new key each time


def test_telemetry_sends_spans_only_where_it_is_configured(service):
    pytest.importorskip("opentelemetry.sdk")
    import time

    from fastapi.testclient import TestClient
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from serving.app import create_app
    from serving.settings import ServerSettings, Settings

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    for wanted in (False, True):
        exporter.clear()
        app = create_app(lambda: service, settings=Settings(server=ServerSettings(telemetry=wanted)))
        with TestClient(app) as client:
            while client.get("/readyz").status_code != 200:
                time.sleep(0.005)
            client.post("/v1/recommend", json={"user_id": "顾客3"})
        names = {span.name for span in exporter.get_finished_spans()}
        assert ("POST /v1/recommend" in names) is wanted
        assert all("顾客" not in str(span.attributes) for span in exporter.get_finished_spans())
