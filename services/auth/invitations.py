"""Invitations, and the rules that hold for them without any store."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Self

from services.auth.domain import Role, normalize_email
from services.common.ids import new_id

LIFETIME = timedelta(days=7)
MAXIMUM_OPEN = 200


@dataclass(frozen=True, slots=True)
class Invitation:
    """Somebody asked to become a member. The token's hash is there once the letter is on its way."""

    id: str
    organization_id: str
    email: str
    roles: tuple[Role, ...]
    custom_role_ids: tuple[str, ...]
    invited_by: str
    created_at: datetime
    expires_at: datetime
    token_hash: bytes | None = None
    accepted_at: datetime | None = None
    revoked_at: datetime | None = None

    @classmethod
    def new(
        cls,
        organization_id: str,
        email: str,
        roles: tuple[Role, ...],
        custom_role_ids: tuple[str, ...],
        invited_by: str,
        *,
        at: datetime,
    ) -> Self:
        """One that was not there before."""
        return cls(
            new_id("inv"),
            organization_id,
            normalize_email(email),
            roles,
            custom_role_ids,
            invited_by,
            at,
            at + LIFETIME,
        )

    def is_open(self, now: datetime) -> bool:
        """True until it is accepted, withdrawn or expires."""
        return self.accepted_at is None and self.revoked_at is None and now < self.expires_at

    def renewed(self, now: datetime) -> Self:
        """For as long again; what was sent before holds no longer."""
        return replace(self, expires_at=now + LIFETIME, token_hash=None)
