"""Every RPC of the contract carries a whole rule, and the check notices what is missing."""

from types import SimpleNamespace
from typing import Any

import pytest

from deskmesh.common.v1 import policy_pb2
from mesh.policy.check import check, problems
from mesh.policy.table import Idempotency, MissingRule, RateClass, Rule, load_table, rule_of, services
from services.common.permissions import OWNER, PERMISSIONS, holds
from tests.support.echo import SERVICE  # noqa: F401 - its service is one more in the pool, and must not be in the table

TABLE = load_table()
METHODS = [method for service in services() for method in service.methods]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_every_rpc_has_a_whole_rule(method: Any) -> None:
    rule = rule_of(method)
    assert list(problems(rule)) == []
    assert TABLE[rule.method] == rule


@pytest.mark.parametrize("rule", [rule for rule in TABLE.values() if rule.permission], ids=lambda rule: rule.method)
def test_every_permission_is_held_by_the_owner(rule: Rule) -> None:
    assert holds(PERMISSIONS[OWNER], rule.permission)


def test_the_table_holds_the_generated_services_only() -> None:
    assert len(TABLE) == len(METHODS) > 40
    assert not [method for method in TABLE if "testing" in method]


def test_nobody_gets_in_without_a_token_but_to_prove_a_secret() -> None:
    anonymous = [rule for rule in TABLE.values() if rule.anonymous]
    assert {rule.service.rpartition(".")[0] for rule in anonymous} == {"deskmesh.auth.v1"}
    assert {rule.rate_class for rule in anonymous} == {RateClass.CREDENTIAL}
    assert "/deskmesh.auth.v1.AuthService/SignIn" in {rule.method for rule in anonymous}


def test_what_gives_somebody_more_rights_wants_a_fresh_proof() -> None:
    raising = {
        "OrganizationService": {"AddMember", "SetMemberRoles"},
        "InvitationService": {"CreateInvitation"},
        "RoleService": {"UpdateRole"},
        "ApiKeyService": {"CreateApiKey", "RotateApiKey"},
        "IdentityProviderService": {
            "SetIdentityProvider",
            "RemoveIdentityProvider",
            "RemoveMemberIdentityLinks",
        },
    }
    wanted = {f"/deskmesh.auth.v1.{service}/{name}" for service, names in raising.items() for name in names}
    assert {rule.method for rule in TABLE.values() if rule.step_up and rule.permission} == wanted


def test_what_changes_how_somebody_gets_in_wants_a_fresh_proof() -> None:
    ways_in = {
        "AccountService": {"ChangePassword"},
        "ConsentService": {"AnswerConsent"},
        "IdentityProviderService": {"BeginIdentityLink", "RemoveIdentityLink"},
        "MfaService": {"BeginTotp", "ConfirmTotp", "DisableTotp", "ReplaceRecoveryCodes"},
        "PasskeyService": {"BeginPasskeyRegistration", "FinishPasskeyRegistration", "RemovePasskey"},
    }
    wanted = {f"{service}/{name}" for service, names in ways_in.items() for name in names}
    found = {rule.method.rpartition(".")[2] for rule in TABLE.values() if rule.step_up and not rule.permission}
    assert found >= wanted


def test_an_rpc_without_the_option_is_refused() -> None:
    method = _method(None)
    with pytest.raises(MissingRule, match="Call has no"):
        rule_of(method)
    assert check([SimpleNamespace(methods=[method])])[1] == [  # type: ignore[list-item]
        "deskmesh.testing.v1.Bad.Call has no (deskmesh.common.v1.policy) option"
    ]


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        (policy_pb2.Policy(idempotency="IDEMPOTENCY_READ", rate_class="RATE_CLASS_READ"), "names no callers"),
        (policy_pb2.Policy(callers=["edge"], rate_class="RATE_CLASS_READ"), "leaves the idempotency unspecified"),
        (policy_pb2.Policy(callers=["edge"], idempotency="IDEMPOTENCY_READ"), "leaves the rate class unspecified"),
        (
            policy_pb2.Policy(callers=["edge"], idempotency="IDEMPOTENCY_REQUEST_ID", rate_class="RATE_CLASS_WRITE"),
            "is idempotent by request_id, but its request has no such field",
        ),
        (
            policy_pb2.Policy(callers=["nobody"], idempotency="IDEMPOTENCY_READ", rate_class="RATE_CLASS_READ"),
            "names callers that are no workloads: nobody",
        ),
        (
            policy_pb2.Policy(
                callers=["edge"],
                permission="tickets.read",
                anonymous=True,
                idempotency="IDEMPOTENCY_READ",
                rate_class="RATE_CLASS_READ",
            ),
            "lets anonymous callers in and asks for a permission",
        ),
    ],
)
def test_an_incomplete_rule_is_refused(policy: policy_pb2.Policy, complaint: str) -> None:
    count, found = check([SimpleNamespace(methods=[_method(policy)])])  # type: ignore[list-item]
    assert (count, found) == (1, [f"deskmesh.testing.v1.Bad.Call {complaint}"])


def test_only_what_changes_nothing_twice_is_retryable() -> None:
    for rule in TABLE.values():
        assert rule.retryable == (rule.idempotency in (Idempotency.READ, Idempotency.IDEMPOTENT))
        assert rule.rate_class is not RateClass.UNSPECIFIED


def _method(policy: policy_pb2.Policy | None) -> Any:
    """As much of a method's descriptor as a rule is read from."""
    options = SimpleNamespace(HasExtension=lambda _: policy is not None, Extensions={policy_pb2.policy: policy})
    return SimpleNamespace(
        full_name="deskmesh.testing.v1.Bad.Call",
        name="Call",
        GetOptions=lambda: options,
        containing_service=SimpleNamespace(full_name="deskmesh.testing.v1.Bad"),
        client_streaming=False,
        server_streaming=False,
        input_type=SimpleNamespace(fields_by_name={}),
    )
