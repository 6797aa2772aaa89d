"""Who calls: the workload by its certificate, the person by an access token or by the word of a trusted workload.

Behind a mesh's proxy the certificate is the one that the proxy says it was shown. A workload other than the edge may
act for a person by the `deskmesh-acting-*` headers; the edge, which anybody can reach, may not. Whether the workload
may call this RPC at all is the next concern's question.
"""

import re

from services.common.context import Caller
from services.common.errors import Unauthenticated
from services.common.interceptors.call import Call
from services.common.permissions import is_known, permissions_of
from services.common.tokens import Claims, TokenInvalid, TokenMissing, TokenVerifier

EDGE = "edge"
# What the proxy in front says of the certificate that it was shown.
FORWARDED = "x-forwarded-client-cert"
AUTHORIZATION = "authorization"
BEARER = "bearer "
ACTING_ORGANIZATION = "deskmesh-acting-organization"
ACTING_USER = "deskmesh-acting-user"
ACTING_ROLES = "deskmesh-acting-roles"
CALLER_CACHE_SIZE = 4096


class WorkloadUnknown(Unauthenticated):
    """The certificate names no workload of this trust domain."""

    reason = "WORKLOAD_NOT_ALLOWED"
    message = "The calling workload has no identity here."


class Identity:
    """Finds the caller of a call; `spiffe_prefix` is what the IDs of this environment's workloads start with."""

    def __init__(self, verifier: TokenVerifier, spiffe_prefix: str) -> None:
        self._verifier = verifier
        self._prefix = spiffe_prefix.encode()
        self._workloads: dict[bytes, str] = {}
        # By the whole header, so that a token that was seen before is not even cut out of it.
        self._people: dict[str | bytes, tuple[Claims, Caller]] = {}

    def known(self, call: Call) -> Caller | None:
        """The caller, if that takes no waiting: all but the first call with an access token."""
        workload = self._workload(call)
        header = call.headers.get(AUTHORIZATION)
        if header is None:
            return Caller(workload) if call.rule.anonymous else self._acting(call, workload)
        seen = self._people.get(header)
        if seen is not None and seen[1].workload == workload and not call.rule.anonymous:
            return seen[1] if self._verifier.holds(seen[0]) else None
        token = _bearer(header)
        claims = self._verifier.cached(token)
        if claims is None:
            return None
        return self._person(call, workload, claims)

    async def resolve(self, call: Call) -> Caller:
        """The caller of a call whose access token must be verified first. Raises Unauthenticated errors."""
        workload = self._workload(call)
        token = _bearer(call.headers[AUTHORIZATION])
        return self._person(call, workload, await self._verifier.verify(token))

    def _workload(self, call: Call) -> str:
        # For TLS with certificates the peer's identities are its subject alternative names.
        for name in call.context.peer_identities() or ():
            known = self._workloads.get(name)
            if known is not None:
                return known
            if name.startswith(self._prefix):
                workload = name[len(self._prefix) :].decode()
                # Names come from certificates of our own authority, so there are few.
                self._workloads[name] = workload
                return workload
        raise WorkloadUnknown

    def _person(self, call: Call, workload: str, claims: Claims) -> Caller:
        if call.rule.anonymous:
            # A token that comes along must hold, as at the door; whose it is does not matter.
            return Caller(workload)
        caller = person(workload, claims)
        if len(self._people) >= CALLER_CACHE_SIZE:
            self._people.clear()
        self._people[call.headers[AUTHORIZATION]] = (claims, caller)
        return caller

    def _acting(self, call: Call, workload: str) -> Caller:
        if workload == EDGE:
            raise TokenMissing
        organization = call.header(ACTING_ORGANIZATION)
        if not organization:
            return Caller(workload)
        named = call.header(ACTING_ROLES)
        roles = tuple(role for role in named.split(",") if is_known(role))
        return Caller(workload, organization, call.header(ACTING_USER), roles, permissions_of(roles))


class ForwardedIdentity(Identity):
    """The same behind a proxy, which nobody but itself can come past: it adds its word behind whatever came."""

    def __init__(self, verifier: TokenVerifier, spiffe_prefix: str) -> None:
        super().__init__(verifier, spiffe_prefix)
        self._name = re.compile(rf"URI={re.escape(spiffe_prefix)}([a-z0-9-]+)")
        self._said: dict[str, str] = {}

    def _workload(self, call: Call) -> str:
        header = call.header(FORWARDED)
        known = self._said.get(header)
        if known is None:
            known = self._named(header)
            # A header holds the certificate's digest, which changes each day.
            if len(self._said) >= CALLER_CACHE_SIZE:
                self._said.clear()
            self._said[header] = known
        return known

    def _named(self, header: str) -> str:
        uris = [part for part in header.rpartition(",")[2].split(";") if part.startswith("URI=")]
        # More than one could only be what a certificate's subject pretends to be.
        match = self._name.fullmatch(uris[0]) if len(uris) == 1 else None
        if match is None:
            raise WorkloadUnknown
        return match[1]


def person(workload: str, claims: Claims) -> Caller:
    """The person whose token came by way of the workload."""
    return Caller(
        workload,
        claims.organization_id,
        claims.user_id,
        claims.roles,
        permissions_of(claims.roles),
        claims.token_id,
        claims.session_id,
        claims.issued_at,
        claims.authenticated_at,
        claims.methods,
        claims.expires_at,
    )


def _bearer(header: str | bytes) -> str:
    if not isinstance(header, str) or header[: len(BEARER)].lower() != BEARER:
        raise TokenInvalid
    return header[len(BEARER) :]
