"""Identifiers, page tokens, permissions, trace headers and the service config."""

import json
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.policy.table import load_table
from services.common import pagination
from services.common.clients import service_config
from services.common.clock import utc_now
from services.common.context import Caller, NoCaller, caller, idempotency, trace_id
from services.common.ids import new_id
from services.common.pagination import InvalidPageToken
from services.common.permissions import (
    ADMIN,
    AGENT,
    CUSTOMER,
    OWN,
    PERMISSIONS,
    ROLES,
    SPECIALISTS,
    permissions_of,
    singles,
)
from services.common.tracing import Unsampled, is_sampled, remote_parent, well_formed


def test_identifiers_sort_by_the_time_they_were_made() -> None:
    made = [new_id("tkt") for _ in range(5000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {len(identifier) for identifier in made} == {4 + 26}


def test_the_clock_is_in_utc() -> None:
    assert utc_now().tzinfo is UTC
    assert abs((utc_now() - datetime.now(UTC)).total_seconds()) < 1


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=50) | st.integers() | st.none(), max_size=4))
def test_page_tokens_hold_their_cursor(cursor: dict[str, str | int | None]) -> None:
    token = pagination.encode(cursor, {"status": "open"})
    if len(token) <= pagination.MAXIMUM_TOKEN_LENGTH:
        assert pagination.decode(token, {"status": "open"}) == cursor


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_breaks_the_page_token_decoder(token: str) -> None:
    with pytest.raises(InvalidPageToken):
        pagination.decode(token, {})


def test_a_page_token_of_other_filters_is_refused() -> None:
    token = pagination.encode({"id": "tkt_1"}, {"status": "open"})
    with pytest.raises(InvalidPageToken) as refusal:
        pagination.decode(token, {"status": "closed"})
    assert refusal.value.violations[0][0] == "page_token"


def test_each_role_of_the_staff_holds_what_the_one_before_it_holds() -> None:
    for lower, higher in pairwise(ROLES):
        assert PERMISSIONS[lower] <= PERMISSIONS[higher]
    assert permissions_of(("unknown",)) == frozenset()


def test_customers_hold_only_what_is_their_own_or_public() -> None:
    assert {name for name in PERMISSIONS[CUSTOMER] if not name.endswith(OWN)} == {"articles.read"}


def test_a_customer_owns_only_and_an_agent_may() -> None:
    customer = Caller("edge", "org_1", "usr_1", (CUSTOMER,), permissions_of((CUSTOMER,)))
    agent = Caller("edge", "org_1", "usr_2", (CUSTOMER, AGENT), permissions_of((CUSTOMER, AGENT)))
    assert not customer.may("tickets.read")
    assert customer.owns_only("tickets.read")
    assert agent.may("tickets.read")
    assert not agent.owns_only("tickets.read")
    assert not customer.owns_only("members.write")
    assert "members.write" in permissions_of((ADMIN,))


def test_outside_of_a_call_there_is_no_caller() -> None:
    with pytest.raises(NoCaller):
        caller()
    with pytest.raises(NoCaller):
        idempotency()
    assert trace_id() == ""


GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        GOOD[:-1],
        "01" + GOOD[2:],
        GOOD.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32),
        GOOD.replace("b7ad6b7169203331", "0" * 16),
        GOOD.upper(),
        GOOD.replace("-", "_"),
        GOOD.replace("0a", " a"),
    ],
)
def test_malformed_trace_headers_are_no_trace(header: str) -> None:
    assert not well_formed(header)


def test_a_trace_header_is_read_and_made() -> None:
    assert well_formed(GOOD)
    assert is_sampled(GOOD)
    assert f"{remote_parent(GOOD).trace_id:032x}" == GOOD[3:35]
    made = Unsampled().traceparent
    assert well_formed(made)
    assert not is_sampled(made)
    assert Unsampled(GOOD).traceparent == GOOD


@given(st.text(max_size=60))
def test_no_text_breaks_the_trace_header(header: str) -> None:
    if well_formed(header):
        remote_parent(header)


def test_the_service_config_retries_only_what_may_be_repeated() -> None:
    config = json.loads(service_config(load_table().values()))
    (method_config,) = config["methodConfig"]
    names = {f"/{name['service']}/{name['method']}" for name in method_config["name"]}
    assert "/deskmesh.auth.v1.AuthService/WhoAmI" in names
    assert "/deskmesh.auth.v1.AuthService/SignIn" not in names
    assert "/deskmesh.auth.v1.OrganizationService/AddMember" not in names
    assert method_config["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert "methodConfig" not in json.loads(service_config([]))


def test_single_permissions_stand_among_roles_and_unknown_ones_count_for_nothing() -> None:
    assert permissions_of(("+audit.read", "+tickets.read.own")) == {"audit.read", "tickets.read.own"}
    assert permissions_of(("+world.rule", "+", "audit.read")) == frozenset()
    assert permissions_of((CUSTOMER, *singles({"audit.read"}))) == PERMISSIONS[CUSTOMER] | {"audit.read"}
    assert set(PERMISSIONS) == {*ROLES, *SPECIALISTS}
