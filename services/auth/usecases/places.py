"""The organizations that one person belongs to, and going from one to another."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership, Organization, Principal
from services.auth.errors import OrganizationNotFound
from services.auth.ports import Work, WorkFactory
from services.auth.usecases.opening import Openings, SignedIn
from services.common.clock import Clock
from services.common.errors import PermissionDenied

MAXIMUM_LISTED = 200


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, in which sign-in, and how they proved who they are."""

    user_id: str
    authenticated_at: float
    methods: tuple[str, ...]
    family_id: str

    def check(self) -> None:
        """Raises PermissionDenied for who proved nothing of the kind: a program, or whom only one's provider knows."""
        if not self.authenticated_at:
            raise PermissionDenied(message="An API key, or a sign-in by another provider, is for one organization.")


async def program_of(work: Work, me: Person) -> tuple[str, tuple[str, ...]]:
    """The program that the person let act for them here, and what it may: what it opens for them stays its own."""
    family = await work.refresh_tokens.find_family(me.family_id)
    return (family.client_id, family.scopes) if family is not None else ("", ())


class Places:
    """Where somebody belongs."""

    def __init__(self, work: WorkFactory, openings: Openings, clock: Clock) -> None:
        self._work = work
        self._openings = openings
        self._clock = clock

    async def list(self, me: Person) -> Sequence[tuple[Organization, Membership]]:
        """The longest membership first. Raises PermissionDenied."""
        me.check()
        async with self._work.system() as work:
            places = await work.memberships.list_of(me.user_id, MAXIMUM_LISTED)
            return [(await work.organizations.get(place.organization_id), place) for place in places]

    async def switch(self, me: Person, slug: str) -> SignedIn:
        """New tokens for another organization; what was proven and when goes along.

        Raises PermissionDenied, or OrganizationNotFound where the person does not belong.
        """
        me.check()
        async with self._work.system() as work:
            organization = await work.organizations.get_by_slug(slug)
            place = await work.memberships.find_held(organization.id, me.user_id)
            if place is None:
                raise OrganizationNotFound
            principal = Principal(place.user, organization, place.roles, place.custom_permissions)
            proved = datetime.fromtimestamp(me.authenticated_at, UTC)
            client_id, scopes = await program_of(work, me)
            signed_in = await self._openings.begin(
                work, principal, me.methods, authenticated_at=proved, client_id=client_id, scopes=scopes
            )
            event = AuditEvent.of(
                EventType.ORGANIZATION_SWITCHED, organization.id, at=self._clock(), actor_id=me.user_id
            )
            await work.audit.add(event)
            await work.commit()
        return signed_in
