"""The OpenAPI page names the real columns, and its examples are true."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def page(client):
    return client.get("/openapi.json").json()


def test_the_row_schema_has_the_contracts_columns_types_units_and_bounds(page):
    schema = page["components"]["schemas"]["flight_delay.Row"]

    assert schema["required"] == ["origin", "distance", "is_holiday"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["origin"] == {
        "type": "string",
        "enum": ["EWR", "JFK", "LGA"],
        "description": "Airport",
        "example": "JFK",
    }
    assert schema["properties"]["distance"] == {
        "type": "number",
        "minimum": 0.0,
        "maximum": 12000.0,
        "description": "[mi]",
        "x-unit": "mi",
    }
    assert schema["properties"]["seats"] == {"type": ["integer", "null"], "minimum": 0, "maximum": 1000}


def test_every_prediction_route_of_every_model_is_documented(page):
    for name in ("flight_delay", "outcome", "minutes"):
        for path in (
            f"/models/{name}/predict",
            f"/models/{name}/versions/{{version}}/predict",
            f"/models/{name}/aliases/{{alias}}/predict",
            f"/models/{name}/invocations",
            f"/v2/models/{name}/infer",
            f"/v2/models/{name}/versions/{{version}}/infer",
        ):
            responses = page["paths"][path]["post"]["responses"]
            assert {"200", "400", "404", "413", "415", "422", "503"} <= responses.keys()


def test_each_example_is_answered_as_its_example_says(client, page):
    tried = 0
    for path, operations in page["paths"].items():
        if "post" not in operations or path == "/events":
            continue
        body = operations["post"]["requestBody"]["content"]["application/json"]
        answers = operations["post"]["responses"]["200"]["content"]["application/json"]["examples"]
        filled = path.replace("{version}", "1").replace("{alias}", "champion")
        assert body["examples"].keys() == answers.keys()
        for name, example in body["examples"].items():
            response = client.post(filled, json=example["value"], headers={"X-Request-ID": "9f2c1b"})
            assert (response.status_code, response.json()) == (200, answers[name]["value"])
            tried += 1
    assert tried >= 3 * (3 * 3 + 3 * 4 + 2)


def test_operation_ids_are_unique(page):
    ids = [operation["operationId"] for path in page["paths"].values() for operation in path.values()]

    assert len(ids) == len(set(ids))


def test_every_reference_resolves(page):
    def references(node):
        if isinstance(node, dict):
            if "$ref" in node:
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    schemas = {f"#/components/schemas/{name}" for name in page["components"]["schemas"]}
    assert set(references(page)) <= schemas


def test_the_page_follows_the_served_versions(registry, run_service):
    registry.add("flight_delay", "1")
    registry.point("flight_delay", champion="1")

    with run_service(registry) as service, service.client() as client:
        assert "/models/outcome/predict" not in client.get("/openapi.json").json()["paths"]
        registry.add("outcome", "1", task="multiclass")
        registry.point("outcome", champion="1")
        service.wait_until(lambda client: "/models/outcome/predict" in client.get("/openapi.json").json()["paths"])


def test_the_page_for_people_needs_nothing_from_elsewhere(client):
    shown = client.get("/docs").text
    needed = re.findall(r'(?:src|href)="([^"]+)"', shown)

    assert [address for address in needed if not address.startswith("/")] == []
    assert {client.get(address).status_code for address in needed} == {200}
