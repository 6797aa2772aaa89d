"""Who is let in to the OpenAI-compatible API, and how often."""

from typing import Any

import pytest

from mesh.policy.http import CHAT_COMPLETIONS, MODELS
from mesh.policy.limits import ORGANIZATION, PERSON, Limit
from mesh.policy.table import RateClass
from services.common.buckets import LocalBuckets
from services.common.interceptors.authorization import PermissionMissing
from services.common.interceptors.limits import CalledTooOften, PeopleLimits
from services.common.revocations import Revocations
from services.common.tokens import KeySet, TokenInvalid, TokenMissing, TokenVerifier, parse_jwks
from services.gateway.openai.identity import Doorkeeper
from tests.support.pki import TokenIssuer

# Five and one a second, which the time of a lease takes away.
LIMITS = tuple(
    Limit(rate_class, who, 1, 6)
    for rate_class in (RateClass.READ, RateClass.INFERENCE)
    for who in (PERSON, ORGANIZATION)
)


class Door:
    """The door, and tokens for it."""

    def __init__(self) -> None:
        self.issuer = TokenIssuer()

        async def keys() -> Any:
            return parse_jwks(self.issuer.jwks())

        verifier = TokenVerifier(KeySet(keys), issuer="https://deskmesh.local", audience="deskmesh")
        # A clock that stands still: what was let through stays counted.
        limits = PeopleLimits(LocalBuckets(lambda: 1e9), LIMITS, monotonic=lambda: 1e3)
        self.keeper = Doorkeeper(verifier, Revocations(), limits)

    async def visit(self, path: str = CHAT_COMPLETIONS, role: str = "admin", **claims: Any) -> str:
        token = self.issuer.token(organization_id="org_1", user_id="usr_1", roles=(role,), **claims)
        return (await self.keeper.let_in(f"Bearer {token}", path)).caller.user_id


@pytest.fixture
def door() -> Door:
    return Door()


async def test_people_are_counted_by_class_and_keys_were_counted_at_the_edge(door: Door) -> None:
    for _ in range(5):
        assert await door.visit() == "usr_1"
    with pytest.raises(CalledTooOften):
        await door.visit()
    assert await door.visit(MODELS)
    for _ in range(10):
        await door.visit(sid="key_1")


async def test_who_may_not_come_in(door: Door) -> None:
    for header, why in (("", TokenMissing), ("Basic x", TokenInvalid), ("Bearer x", TokenInvalid)):
        with pytest.raises(why):
            await door.keeper.let_in(header, MODELS)
    with pytest.raises(PermissionMissing):
        await door.visit(role="customer")
