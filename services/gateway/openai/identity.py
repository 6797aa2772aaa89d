"""Who calls the API, by the access token that the edge has checked or put in place of a key; checked here again."""

from collections.abc import Mapping

from mesh.policy.http import HTTP_RULES
from mesh.policy.table import Rule
from services.common.context import Caller
from services.common.interceptors.authorization import Authorize, authorization
from services.common.interceptors.identity import BEARER, EDGE, person
from services.common.interceptors.limits import PeopleLimits
from services.common.revocations import Revocations
from services.common.tokens import Claims, TokenInvalid, TokenMissing, TokenRevoked, TokenVerifier


class Visitor:
    """A caller who was let in, for as long as the answer takes."""

    def __init__(self, caller: Caller, claims: Claims, revocations: Revocations) -> None:
        self.caller = caller
        self._claims = claims
        self._revocations = revocations

    def check(self) -> None:
        """Raises TokenRevoked when the token was revoked since."""
        if self._revocations and self._revocations.cover(self._claims.subjects, self._claims.issued_at):
            raise TokenRevoked


class Doorkeeper:
    """Lets callers in by the rules of the policy, and people no more often than `limits` says."""

    def __init__(
        self,
        verifier: TokenVerifier,
        revocations: Revocations,
        limits: PeopleLimits,
        rules: Mapping[str, Rule] = HTTP_RULES,
    ) -> None:
        self._verifier = verifier
        self._revocations = revocations
        self._gates = {path: limits.gate(rule) for path, rule in rules.items()}
        self._authorize: Mapping[str, Authorize] = {path: authorization(rule) for path, rule in rules.items()}

    async def let_in(self, header: str, path: str) -> Visitor:
        """Who sends this header. Raises the Unauthenticated errors, PermissionMissing or CalledTooOften."""
        if not header:
            raise TokenMissing
        if header[: len(BEARER)].lower() != BEARER:
            raise TokenInvalid
        claims = await self._verifier.verify(header[len(BEARER) :])
        caller = person(EDGE, claims)
        gate = self._gates[path]
        if gate and not gate.spare(caller):
            await gate.take(caller)
        self._authorize[path](caller)
        return Visitor(caller, claims, self._revocations)
