"""Invitations: sent, sent again, withdrawn, accepted."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.auth.accounts import Account, Letter, MailJob, hash_token
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership, Principal, Role, User, may_change_owners, ordered
from services.auth.errors import EmailTaken, QuotaReached
from services.auth.invitation_errors import InvitationInvalid, InvitationNotFound, MembershipExists
from services.auth.invitations import MAXIMUM_OPEN, Invitation
from services.auth.passwords import check_password, stands_alone
from services.auth.ports import Passwords, Work, WorkFactory
from services.auth.roles import Granter
from services.auth.usecases.members import custom_permissions
from services.auth.usecases.opening import PASSWORD, Openings, SignedIn
from services.auth.usecases.places import Person, program_of
from services.common.clock import Clock
from services.common.context import IdempotencyKey
from services.common.permissions import permissions_of


@dataclass(frozen=True, slots=True)
class Invite:
    """Somebody to invite."""

    organization_id: str
    email: str
    roles: tuple[Role, ...]
    custom_role_ids: tuple[str, ...]
    by: Granter
    idempotency: IdempotencyKey


class Invitations:
    """How people come into an organization by e-mail."""

    def __init__(
        self,
        work: WorkFactory,
        passwords: Passwords,
        openings: Openings,
        wake: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._work = work
        self._passwords = passwords
        self._openings = openings
        self._wake = wake
        self._clock = clock

    async def create(self, command: Invite) -> Invitation:
        """Raises OnlyOwners, RoleNotFound, PermissionNotHeld, MembershipExists, QuotaReached or RequestIdReused."""
        if Role.OWNER in command.roles:
            may_change_owners(command.by.roles)
        now = self._clock()
        invitation = Invitation.new(
            command.organization_id,
            command.email,
            ordered(command.roles),
            tuple(sorted(command.custom_role_ids)),
            command.by.user_id,
            at=now,
        )
        async with self._work.tenant(command.organization_id) as work:
            if made := await work.requests.claim(command.idempotency, invitation.id):
                return await work.invitations.get(made)
            await work.organizations.lock(command.organization_id)
            custom = await custom_permissions(work, command.custom_role_ids)
            held = permissions_of(tuple(map(str, invitation.roles))).union(*custom.values())
            command.by.may_grant(held)
            if await work.users.find_by_email(invitation.email):
                raise MembershipExists
            open_ones = await work.invitations.list_open(now)
            for other in open_ones:
                if other.email == invitation.email:
                    await self._revoke(work, other)
            if len(open_ones) >= MAXIMUM_OPEN:
                raise QuotaReached(metadata={"maximum": str(MAXIMUM_OPEN)})
            await work.invitations.put(invitation)
            await work.mail_jobs.add(MailJob.new(Letter.INVITATION, invitation.email, at=now, reference=invitation.id))
            await self._log(work, EventType.INVITATION_CREATED, invitation)
            await work.commit()
        self._wake()
        return invitation

    async def list(self, organization_id: str) -> Sequence[Invitation]:
        """Open ones, the newest first."""
        async with self._work.tenant(organization_id) as work:
            return await work.invitations.list_open(self._clock())

    async def resend(self, organization_id: str, invitation_id: str) -> Invitation:
        """Raises InvitationNotFound."""
        now = self._clock()
        async with self._work.tenant(organization_id) as work:
            invitation = (await self._open(work, invitation_id)).renewed(now)
            await work.invitations.put(invitation)
            await work.mail_jobs.add(MailJob.new(Letter.INVITATION, invitation.email, at=now, reference=invitation.id))
            await self._log(work, EventType.INVITATION_RESENT, invitation)
            await work.commit()
        self._wake()
        return invitation

    async def revoke(self, organization_id: str, invitation_id: str) -> None:
        """Raises InvitationNotFound."""
        async with self._work.tenant(organization_id) as work:
            await self._revoke(work, await self._open(work, invitation_id))
            await work.commit()

    async def accept(self, token: str, person: Person) -> SignedIn:
        """For somebody with an account of the address. Raises InvitationInvalid or MembershipExists."""
        person.check()
        async with self._work.system() as work:
            invitation = await self._offered(work, token)
            user = await work.users.get(person.user_id)
            if user.email != invitation.email:
                raise InvitationInvalid
            if await work.memberships.find(invitation.organization_id, person.user_id):
                raise MembershipExists
            proved = datetime.fromtimestamp(person.authenticated_at, UTC)
            program = await program_of(work, person)
            signed_in = await self._join(work, invitation, user, person.methods, proved, program)
            await work.commit()
        return signed_in

    async def sign_up(self, token: str, display_name: str, password: str) -> SignedIn:
        """For somebody without one. Raises InvitationInvalid, PasswordWeak, EmailTaken or TooManyAttempts."""
        async with self._work.system() as work:
            email = (await self._offered(work, token)).email
        await asyncio.to_thread(check_password, password, email, display_name)
        password_hash = await self._passwords.hash(password)
        async with self._work.system() as work:
            invitation = await self._offered(work, token)
            if await work.users.find_by_email(invitation.email):
                raise EmailTaken
            now = self._clock()
            user = User.new(invitation.email, display_name, password_hash, at=now)
            await work.users.add(user)
            await work.audit.add(AuditEvent.of(EventType.SIGN_UP, invitation.organization_id, at=now, actor_id=user.id))
            signed_in = await self._join(work, invitation, user, (PASSWORD,), now)
            # The link came by mail, which proves the address.
            await work.accounts.put(Account(user.id, now, stands_alone(password)))
            await work.commit()
        return signed_in

    async def _join(
        self,
        work: Work,
        invitation: Invitation,
        user: User,
        methods: Sequence[str],
        proved: datetime,
        program: tuple[str, tuple[str, ...]] = ("", ()),
    ) -> SignedIn:
        now = self._clock()
        place = Membership(user, invitation.organization_id, invitation.roles, now, invitation.custom_role_ids)
        await work.memberships.add(place)
        await work.invitations.put(replace(invitation, accepted_at=now))
        event = AuditEvent.of(
            EventType.INVITATION_ACCEPTED,
            invitation.organization_id,
            at=now,
            actor_id=user.id,
            subject_id=invitation.id,
        )
        await work.audit.add(event)
        held = await work.memberships.find_held(invitation.organization_id, user.id) or place
        organization = await work.organizations.get(invitation.organization_id)
        principal = Principal(user, organization, held.roles, held.custom_permissions)
        client_id, scopes = program
        return await self._openings.begin(
            work, principal, methods, authenticated_at=proved, client_id=client_id, scopes=scopes
        )

    async def _offered(self, work: Work, token: str) -> Invitation:
        """The invitation of a link; whoever else follows it waits until this unit of work ends."""
        invitation = await work.invitations.find_locked(hash_token(token))
        if invitation is None or not invitation.is_open(self._clock()):
            raise InvitationInvalid
        return invitation

    async def _open(self, work: Work, invitation_id: str) -> Invitation:
        invitation = await work.invitations.get(invitation_id)
        if not invitation.is_open(self._clock()):
            raise InvitationNotFound(resource_name=invitation_id)
        return invitation

    async def _revoke(self, work: Work, invitation: Invitation) -> None:
        await work.invitations.put(replace(invitation, revoked_at=self._clock(), token_hash=None))
        await self._log(work, EventType.INVITATION_REVOKED, invitation)

    async def _log(self, work: Work, kind: EventType, invitation: Invitation) -> None:
        details = {"roles": ",".join((*invitation.roles, *invitation.custom_role_ids))}
        event = AuditEvent.of(
            kind, invitation.organization_id, at=self._clock(), subject_id=invitation.id, details=details
        )
        await work.audit.add(event)
