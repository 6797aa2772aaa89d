"""The OpenAPI document is valid, says what the protos say, and tells of every path."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from openapi_spec_validator import validate

from deskmesh.tickets.v1 import ticket_service_pb2
from mesh.policy.table import services
from mesh.rest.openapi import document
from mesh.rest.paths import bindings

DESCRIPTORS = Path(__file__).parents[3] / "gen" / "contracts.binpb"


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return document(descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes()))


def operation(made: dict[str, Any], verb: str, path: str) -> Any:
    return made["paths"][f"/api/v1/{path}"][verb]


def test_it_is_a_valid_document(made: dict[str, Any]) -> None:
    validate(made)


def test_every_path_is_in_it(made: dict[str, Any]) -> None:
    wanted = {(one.verb, one.path) for service in services() for method in service.methods for one in bindings(method)}
    assert {(verb, path) for path, verbs in made["paths"].items() for verb in verbs} == wanted


def test_names_of_operations_are_unique_and_everything_is_described(made: dict[str, Any]) -> None:
    operations = [one for verbs in made["paths"].values() for one in verbs.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert not [one["operationId"] for one in operations if not one["summary"]]
    undescribed = [name for name, one in made["components"]["schemas"].items() if not one.get("description")]
    assert [name for name in undescribed if not name.startswith("google.")] == []


def test_rules_become_schemas(made: dict[str, Any]) -> None:
    schema = operation(made, "post", "tickets")["requestBody"]["content"]["application/json"]["schema"]
    assert {"request_id", "subject"} <= set(schema["required"])
    assert (schema["properties"]["subject"]["minLength"], schema["properties"]["subject"]["maxLength"]) == (1, 200)
    assert schema["properties"]["tags"]["maxItems"] == 20
    assert "must hold more than white space" in schema["properties"]["subject"]["description"]


def test_what_stands_in_the_path_does_not_stand_in_the_body(made: dict[str, Any]) -> None:
    update = operation(made, "patch", "tickets/{ticket_id}")
    assert [one["name"] for one in update["parameters"]] == ["ticket_id"]
    properties = update["requestBody"]["content"]["application/json"]["schema"]["properties"]
    fields = {field.name for field in ticket_service_pb2.UpdateTicketRequest.DESCRIPTOR.fields}
    assert set(properties) == fields - {"ticket_id"}


def test_queries_take_the_fields_of_a_request_without_a_body(made: dict[str, Any]) -> None:
    found = {one["name"]: one for one in operation(made, "get", "tickets")["parameters"]}
    assert found["statuses"]["schema"]["type"] == "array"
    assert "TICKET_STATUS_UNSPECIFIED" not in found["statuses"]["schema"]["items"]["enum"]
    assert found["page_size"]["schema"]["maximum"] == 200
    assert not any(one["required"] for one in found.values())


def test_who_may_call_is_told(made: dict[str, Any]) -> None:
    assert operation(made, "post", "auth:signIn")["security"] == [{}]
    assert "security" not in operation(made, "get", "me")
    assert "`tickets.update`" in operation(made, "patch", "tickets/{ticket_id}")["description"]
    assert "last ten minutes" in operation(made, "post", "api-keys")["description"]
