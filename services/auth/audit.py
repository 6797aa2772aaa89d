"""What happened to identities: the entries of the append-only log, and where each came from."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Self

from services.common.context import current_caller, trace_id
from services.common.ids import new_id


class EventType(StrEnum):
    """The words of `deskmesh.auth.v1.AuditEventType`."""

    SIGN_UP = "SIGN_UP"
    SIGN_IN = "SIGN_IN"
    SIGN_IN_FAILED = "SIGN_IN_FAILED"
    REFRESH_REUSED = "REFRESH_REUSED"
    SIGN_OUT = "SIGN_OUT"
    SIGN_OUT_EVERYWHERE = "SIGN_OUT_EVERYWHERE"
    SIGN_IN_REVOKED = "SIGN_IN_REVOKED"
    ORGANIZATION_SWITCHED = "ORGANIZATION_SWITCHED"
    STEP_UP = "STEP_UP"
    IDENTITY_LINKED = "IDENTITY_LINKED"
    IDENTITY_UNLINKED = "IDENTITY_UNLINKED"

    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - a name, not a secret
    PASSWORD_RESET_REQUESTED = "PASSWORD_RESET_REQUESTED"  # noqa: S105 - a name, not a secret
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - a name, not a secret
    EMAIL_VERIFIED = "EMAIL_VERIFIED"
    EMAIL_CHANGED = "EMAIL_CHANGED"
    FACTOR_ADDED = "FACTOR_ADDED"
    FACTOR_REMOVED = "FACTOR_REMOVED"
    FACTOR_FAILED = "FACTOR_FAILED"
    RECOVERY_CODE_USED = "RECOVERY_CODE_USED"
    RECOVERY_CODES_REPLACED = "RECOVERY_CODES_REPLACED"

    ORGANIZATION_CREATED = "ORGANIZATION_CREATED"
    MEMBER_ADDED = "MEMBER_ADDED"
    MEMBER_ROLES_CHANGED = "MEMBER_ROLES_CHANGED"
    MEMBER_REMOVED = "MEMBER_REMOVED"
    INVITATION_CREATED = "INVITATION_CREATED"
    INVITATION_RESENT = "INVITATION_RESENT"
    INVITATION_REVOKED = "INVITATION_REVOKED"
    INVITATION_ACCEPTED = "INVITATION_ACCEPTED"
    ROLE_CREATED = "ROLE_CREATED"
    ROLE_UPDATED = "ROLE_UPDATED"
    ROLE_DELETED = "ROLE_DELETED"

    SERVICE_ACCOUNT_CREATED = "SERVICE_ACCOUNT_CREATED"
    SERVICE_ACCOUNT_DELETED = "SERVICE_ACCOUNT_DELETED"
    API_KEY_CREATED = "API_KEY_CREATED"
    API_KEY_REVOKED = "API_KEY_REVOKED"
    API_KEY_ROTATED = "API_KEY_ROTATED"
    API_KEY_REFUSED = "API_KEY_REFUSED"

    SIGNING_KEY_ROTATED = "SIGNING_KEY_ROTATED"
    CLIENT_REGISTERED = "CLIENT_REGISTERED"
    CONSENT_GRANTED = "CONSENT_GRANTED"
    CONSENT_REVOKED = "CONSENT_REVOKED"
    IDENTITY_PROVIDER_SET = "IDENTITY_PROVIDER_SET"
    IDENTITY_PROVIDER_REMOVED = "IDENTITY_PROVIDER_REMOVED"
    TOKEN_EXCHANGED = "TOKEN_EXCHANGED"  # noqa: S105 - a name, not a secret


_source: ContextVar[str] = ContextVar("deskmesh_auth_source", default="")

# The network address of the call being served; set once a call, before the use case runs.
set_source = _source.set
current_source = _source.get


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One entry. `details` hold identifiers and fixed words: never a secret, a name or an e-mail address."""

    id: str
    organization_id: str
    type: EventType
    occurred_at: datetime
    actor_id: str = ""
    workload: str = ""
    subject_id: str = ""
    source: str = ""
    trace_id: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        kind: EventType,
        organization_id: str,
        *,
        at: datetime,
        actor_id: str = "",
        subject_id: str = "",
        details: Mapping[str, str] | None = None,
    ) -> Self:
        """An entry about the call being served: workload, source and trace come from it, and so does the actor unless
        one is named, as for a call that came in without a token. `organization_id` is empty for what belongs to no
        organization, such as a failed sign-in of an unknown address."""
        caller = current_caller()
        return cls(
            id=new_id("evt"),
            organization_id=organization_id,
            type=kind,
            occurred_at=at,
            actor_id=actor_id or (caller.user_id if caller else ""),
            workload=caller.workload if caller else "",
            subject_id=subject_id,
            source=current_source(),
            trace_id=trace_id(),
            details=dict(details or {}),
        )
