"""What the contract says of an RPC, as far as a caller needs it."""

import functools

from google.protobuf.descriptor import FileDescriptor

from deskmesh.auth.v1 import (
    account_service_pb2,
    api_key_service_pb2,
    audit_service_pb2,
    auth_service_pb2,
    invitation_service_pb2,
    membership_service_pb2,
    mfa_service_pb2,
    organization_service_pb2,
    passkey_service_pb2,
    role_service_pb2,
)
from deskmesh.common.v1 import policy_pb2
from deskmesh.knowledge.v1 import article_service_pb2, ingest_service_pb2, search_service_pb2
from deskmesh.orchestrator.v1 import orchestrator_service_pb2
from deskmesh.sessions.v1 import conversation_service_pb2
from deskmesh.tickets.v1 import ticket_service_pb2
from deskmesh.usage.v1 import budget_service_pb2, usage_service_pb2

FILES: tuple[FileDescriptor, ...] = (
    account_service_pb2.DESCRIPTOR,
    api_key_service_pb2.DESCRIPTOR,
    audit_service_pb2.DESCRIPTOR,
    auth_service_pb2.DESCRIPTOR,
    invitation_service_pb2.DESCRIPTOR,
    membership_service_pb2.DESCRIPTOR,
    mfa_service_pb2.DESCRIPTOR,
    passkey_service_pb2.DESCRIPTOR,
    organization_service_pb2.DESCRIPTOR,
    role_service_pb2.DESCRIPTOR,
    article_service_pb2.DESCRIPTOR,
    ingest_service_pb2.DESCRIPTOR,
    search_service_pb2.DESCRIPTOR,
    orchestrator_service_pb2.DESCRIPTOR,
    conversation_service_pb2.DESCRIPTOR,
    ticket_service_pb2.DESCRIPTOR,
    usage_service_pb2.DESCRIPTOR,
    budget_service_pb2.DESCRIPTOR,
)


@functools.cache
def rules() -> dict[str, policy_pb2.Policy]:
    """The rule of each RPC by its full method name, as "/deskmesh.auth.v1.AuthService/SignIn"."""
    return {
        f"/{service.full_name}/{method.name}": method.GetOptions().Extensions[policy_pb2.policy]  # type: ignore[index]
        for file in FILES
        for service in file.services_by_name.values()
        for method in service.methods
    }


def repeatable(method: str) -> bool:
    """Whether the same request may be sent again: by its nature, or because it carries a request_id."""
    rule = rules().get(method)
    return rule is not None and rule.idempotency in (
        policy_pb2.IDEMPOTENCY_READ,
        policy_pb2.IDEMPOTENCY_IDEMPOTENT,
        policy_pb2.IDEMPOTENCY_REQUEST_ID,
    )


def needs_token(method: str) -> bool:
    rule = rules().get(method)
    return rule is None or not rule.anonymous
