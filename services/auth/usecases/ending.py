"""What ends access: first what could be renewed, then the access tokens issued up to that moment.

Whoever issues a token holds what it rests on, always first the person, then the sign-in and then the place, until it is
issued, and the moment here is taken once that was changed. So no token that says what somebody was before has a later
moment.
"""

from collections.abc import Iterable

from services.auth.domain import RefreshFamily
from services.auth.ports import Work
from services.common.clock import Clock
from services.common.revocations import Revocation, membership_subject


async def end_families(work: Work, families: Iterable[RefreshFamily], clock: Clock) -> list[Revocation]:
    """End these sign-ins; returns what to announce once it is committed."""
    ended = []
    for family in families:
        await work.refresh_tokens.revoke_family(family.id, at=clock())
        ended.append(await _revoke(work, family.id, clock))
    return ended


async def end_sign_ins(work: Work, user_id: str, clock: Clock) -> Revocation:
    """End all sign-ins of a person, those half done included; returns what to announce once it is committed."""
    await work.challenges.forget_sign_ins(user_id)
    await work.refresh_tokens.revoke_user(user_id, at=clock())
    return await _revoke(work, user_id, clock)


async def end_access(work: Work, organization_id: str, user_id: str, clock: Clock) -> Revocation:
    """End the access tokens that say what somebody was; returns what to announce once it is committed.

    What they were is changed before, in this unit of work.
    """
    return await _revoke(work, membership_subject(organization_id, user_id), clock)


async def _revoke(work: Work, subject: str, clock: Clock) -> Revocation:
    at = clock()
    ended = Revocation(subject, at.timestamp())
    await work.revocations.add(ended, at=at)
    return ended
