"""Roles that groups at an organization's provider give to its people: brought in line, and taken back."""

from collections.abc import Collection, Sequence

from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership
from services.auth.groups import GroupRole
from services.auth.ports import Work
from services.auth.usecases.ending import end_access
from services.auth.usecases.members import role_names
from services.common.clock import Clock
from services.common.revocations import Revocation


async def bring_in_line(
    work: Work, membership: Membership, given: Collection[GroupRole], issuer: str, clock: Clock
) -> Sequence[Revocation]:
    """Let a member hold by groups what these give, and nothing else; returns what to announce once it is committed.

    Nobody else changes who belongs to the organization meanwhile.
    """
    roles = [one.role for one in given if one.role]
    changed = membership.with_groups(roles, [one.custom_role_id for one in given if one.custom_role_id])
    if changed == membership:
        return ()
    here, user_id, now = membership.organization_id, membership.user.id, clock()
    await work.memberships.set_roles(changed)
    ended = await end_access(work, here, user_id, clock)
    details = {"before": role_names(membership), "after": role_names(changed), "groups_of": issuer}
    await work.audit.add(
        AuditEvent.of(EventType.MEMBER_ROLES_CHANGED, here, at=now, subject_id=user_id, details=details)
    )
    return (ended,)


async def take_back(
    work: Work, organization_id: str, left: Collection[GroupRole], issuer: str, clock: Clock
) -> list[Revocation]:
    """Take from every member what no group gives any more; `left` are the rules that go on holding."""
    held = {one.held for one in left}
    ended: list[Revocation] = []
    for membership in await work.memberships.by_groups(organization_id):
        kept = [GroupRole("", role) for role in membership.group_roles if role in held]
        kept += [GroupRole("", None, role_id) for role_id in membership.group_custom_role_ids if role_id in held]
        ended += await bring_in_line(work, membership, kept, issuer, clock)
    return ended
