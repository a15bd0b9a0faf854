"""Everything the API's description says is held to, by requests made from the description itself."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from serving.app import create_app
from serving.opening import open_service
from tests.serving.live_server import live

OPERATIONS = [
    (method, path) for path, operations in create_app(lambda: None).openapi()["paths"].items() for method in operations
]


@pytest.fixture(scope="module")
def described(shop):
    with live(create_app(lambda: open_service(shop))) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


SETTLED_BY_THE_BUNDLE = {
    ("post", "/v1/recommend"),
    ("post", "/v1/recommend/batch"),
    ("post", "/v1/events"),
    ("put", "/v1/items/{item_id}"),
}
"""What is well formed may still name a column that the catalogue does not have, or the day after tomorrow."""


def hold(described, method, path, *, examples):
    """Ask an operation in many ways, right and wrong, and check every answer against the description."""

    excluded = [positive_data_acceptance] if (method, path) in SETTLED_BY_THE_BUNDLE else []

    @settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=described[path][method].as_strategy())
    def check(case):
        case.call_and_validate(excluded_checks=excluded)

    check()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_is_what_it_is_said_to_be(described, method, path):
    hold(described, method, path, examples=6)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_is_what_it_is_said_to_be_at_length(described, method, path):
    hold(described, method, path, examples=400)
