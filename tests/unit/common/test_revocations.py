"""What a revoked subject ends, and what keeps a process informed."""

import time
from typing import Any

import pytest

from mesh.policy.table import rules_for_service
from services.common import revocations
from services.common.context import Caller
from services.common.interceptors.authorization import STEP_UP_SECONDS, StepUpRequired, authorization
from services.common.revocations import (
    Revocation,
    Revocations,
    decode,
    membership_subject,
)
from services.common.tokens import Keys, KeySet, TokenRevoked, TokenVerifier, parse_jwks
from tests.support.echo import SERVICE
from tests.support.pki import AUDIENCE, ISSUER, TokenIssuer

NOW = 1_000_000.0


def known(*revoked: Revocation, now: float = NOW) -> Revocations:
    found = Revocations(now=lambda: now)
    found.add(revoked)
    return found


@pytest.mark.parametrize("subject", ["usr_1", "org_1/usr_1", "rff_1"])
async def test_a_token_ends_with_its_person_place_or_session(subject: str) -> None:
    issuer = TokenIssuer()
    revoked = Revocations()

    async def keys() -> Keys:
        return parse_jwks(issuer.jwks())

    verifier = TokenVerifier(KeySet(keys), issuer=ISSUER, audience=AUDIENCE, revocations=revoked)
    who: dict[str, Any] = {"organization_id": "org_1", "user_id": "usr_1", "roles": ("agent",), "sid": "rff_1"}
    token = issuer.token(**who)
    claims = await verifier.verify(token)
    assert (claims.session_id, claims.methods) == ("rff_1", ("pwd",))
    revoked.add([Revocation("usr_2", time.time()), Revocation(subject, claims.issued_at - 1)])
    assert verifier.cached(token)
    revoked.add([Revocation(subject, time.time())])
    assert verifier.cached(token) is None
    with pytest.raises(TokenRevoked):
        await verifier.verify(token)
    later = issuer.token(**who, iat=time.time() + 1)
    assert await verifier.verify(later)


def test_the_latest_moment_counts_and_old_ones_are_forgotten() -> None:
    found = known(Revocation("usr_1", NOW), Revocation("usr_1", NOW - 50))
    assert found.cover(["usr_1"], NOW - 10)
    assert not found.cover(["usr_1"], NOW + 0.001)
    assert not found.cover([""], 0)
    assert not known(Revocation("usr_1", NOW - revocations.KEPT_SECONDS - 1))


def test_only_news_is_told() -> None:
    heard: list[Revocation] = []
    found = Revocations(now=lambda: NOW)
    found.on_revoked(heard.append)
    for _ in range(3):
        found.add([Revocation("usr_1", NOW)])
    assert heard == [Revocation("usr_1", NOW)]


@pytest.mark.parametrize("document", [None, [], {}, {"revoked": 1}, {"revoked": [["usr_1"]]}, {"revoked": [[1, 2]]}])
def test_what_makes_no_sense_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="revocation"):
        decode(document)


def test_a_membership_is_not_a_person() -> None:
    found = known(Revocation(membership_subject("org_1", "usr_1"), NOW))
    assert found.cover(["usr_1", "org_1/usr_1"], NOW)
    assert not found.cover(["usr_1", "org_2/usr_1"], NOW)


def test_a_dangerous_call_wants_a_fresh_proof() -> None:
    rule = rules_for_service(SERVICE)[f"/{SERVICE}/Dangerous"]
    check = authorization(rule, now=lambda: NOW)

    def person(authenticated_at: float) -> Caller:
        held = frozenset({rule.permission})
        return Caller("edge", "org_1", "usr_1", permissions=held, authenticated_at=authenticated_at)

    check(person(NOW - STEP_UP_SECONDS))
    for authenticated_at in (0.0, NOW - STEP_UP_SECONDS - 1):
        with pytest.raises(StepUpRequired):
            check(person(authenticated_at))
