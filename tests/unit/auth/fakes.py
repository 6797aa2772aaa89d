"""The ports of auth in memory. The contract suite holds them to the behaviour of the real ones."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from services.auth.audit import AuditEvent
from services.auth.ports import AuditFilter
from services.common.context import IdempotencyKey
from services.common.errors import RequestIdReused
from tests.unit.auth.account_fakes import FakeAccounts, FakeLinks, FakeMailJobs, FakeRevocationLog
from tests.unit.auth.credential_fakes import FakeApiKeys, FakeRefreshTokens
from tests.unit.auth.factor_fakes import FakeChallenges, FakeFactors, FakePasskeys
from tests.unit.auth.member_fakes import FakeInvitations, FakeMemberships, FakeOrganizations, FakeRoles, FakeUsers
from tests.unit.auth.oauth_fakes import FakeGrants
from tests.unit.auth.provider_fakes import FakeIdentityProviders
from tests.unit.auth.store_fakes import FakeStore


class FakeWork:
    """See `ports.Work`; one at a time."""

    def __init__(self, committed: FakeStore, organization_id: str | None) -> None:
        self._committed = committed
        self._organization_id = organization_id

    async def __aenter__(self) -> Self:
        self._store = self._committed.copied()
        self.users = FakeUsers(self._store, self._organization_id)
        self.organizations = FakeOrganizations(self._store, self._organization_id)
        self.memberships = FakeMemberships(self._store, self._organization_id)
        self.refresh_tokens = FakeRefreshTokens(self._store)
        self.invitations = FakeInvitations(self._store, self._organization_id)
        self.roles = FakeRoles(self._store, self._organization_id or "")
        self.accounts = FakeAccounts(self._store)
        self.links = FakeLinks(self._store)
        self.mail_jobs = FakeMailJobs(self._store)
        self.revocations = FakeRevocationLog(self._store)
        self.factors = FakeFactors(self._store)
        self.passkeys = FakePasskeys(self._store)
        self.challenges = FakeChallenges(self._store)
        self.api_keys = FakeApiKeys(self._store, self._organization_id or "")
        self.grants = FakeGrants(self._store)
        self.identity_providers = FakeIdentityProviders(self._store, self._organization_id)
        self.audit = FakeAuditLog(self._store, self._organization_id)
        self.requests = FakeRequests(self._store, self._organization_id or "")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def commit(self) -> None:
        vars(self._committed).update(vars(self._store.copied()))


class FakeWorkFactory:
    """See `ports.WorkFactory`."""

    def __init__(self) -> None:
        self.store = FakeStore()

    def tenant(self, organization_id: str) -> FakeWork:
        return FakeWork(self.store, organization_id)

    def system(self) -> FakeWork:
        return FakeWork(self.store, None)


class FakeAuditLog:
    """See `ports.AuditLog`; a tenant sees its own."""

    def __init__(self, store: FakeStore, tenant: str | None) -> None:
        self._store = store
        self._tenant = tenant

    async def add(self, event: AuditEvent) -> None:
        self._store.events.append(event)

    async def list(self, chosen: AuditFilter, before: str, limit: int) -> Sequence[AuditEvent]:
        def is_chosen(event: AuditEvent) -> bool:
            return (
                event.organization_id == chosen.organization_id
                and self._tenant in (None, event.organization_id)
                and (not chosen.types or event.type in chosen.types)
                and chosen.actor_id in ("", event.actor_id)
                and chosen.subject_id in ("", event.subject_id)
                and (chosen.since is None or event.occurred_at >= chosen.since)
                and (chosen.until is None or event.occurred_at < chosen.until)
                and (not before or event.id < before)
            )

        found = [event for event in self._store.events if is_chosen(event)]
        return sorted(found, key=lambda event: event.id, reverse=True)[:limit]


class FakeRequests:
    """See `ports.Requests`."""

    def __init__(self, store: FakeStore, tenant: str) -> None:
        self._store = store
        self._tenant = tenant

    async def claim(self, key: IdempotencyKey, resource_id: str) -> str | None:
        identity = (self._tenant, key.method, key.request_id)
        known = self._store.requests.get(identity)
        if known is None:
            self._store.requests[identity] = key.fingerprint, resource_id
            return None
        if known[0] != key.fingerprint:
            raise RequestIdReused
        return known[1]
