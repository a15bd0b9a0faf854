"""The API's description shows what goes in and what comes out, and says of every answer what it is."""

import jsonschema_rs
import pytest

from serving.app import create_app

DOCUMENT = create_app(lambda: None).openapi()
OPERATIONS = [(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations]


def told(method, path):
    return DOCUMENT["paths"][path][method]


def schema_of(content):
    reference = content["application/json"]["schema"]["$ref"]
    return reference.rpartition("/")[2]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_good_answer_has_a_meaning_and_an_example(method, path):
    answer = told(method, path)["responses"]["200"]
    assert answer["description"] != "Successful Response"
    if "text/plain" in answer["content"]:
        assert answer["content"]["text/plain"]["example"].startswith("# HELP recsys_")
        return
    name = schema_of(answer["content"])
    assert DOCUMENT["components"]["schemas"][name]["examples"]


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_examples_are_of_the_form_they_are_examples_of(name):
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    for example in DOCUMENT["components"]["schemas"][name].get("examples", []):
        jsonschema_rs.validate(schema, example)


def test_a_wrong_example_would_be_found():
    schema = {"$ref": "#/components/schemas/UserDeleted", "components": DOCUMENT["components"]}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, {"events_removed": "twelve"})


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_body_and_every_name_in_an_address_has_an_example(method, path):
    operation = told(method, path)
    for parameter in operation.get("parameters", []):
        assert parameter["in"] != "path" or parameter["schema"].get("examples") or parameter.get("examples")
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        forms = body.get("anyOf") or body.get("oneOf") or [body]
        for form in forms:
            assert DOCUMENT["components"]["schemas"][form["$ref"].rpartition("/")[2]]["examples"]
