"""Every kind of caller, and what the protos say each is to be answered."""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mesh.policy.table import Rule
from services.common.interceptors.authorization import STEP_UP_SECONDS
from services.common.interceptors.identity import ACTING_ORGANIZATION, ACTING_ROLES, ACTING_USER
from services.common.permissions import ROLES, SPECIALISTS, holds, permissions_of
from tests.support.pki import TokenIssuer

EDGE = "edge"
# A name of our trust domain that no policy mentions, and a known name in another environment.
STRANGER = "stranger"
ELSEWHERE = "orchestrator of another environment"

TOKEN_MISSING, TOKEN_EXPIRED, TOKEN_INVALID = "TOKEN_MISSING", "TOKEN_EXPIRED", "TOKEN_INVALID"
WORKLOAD, PERMISSION, STEP_UP = "WORKLOAD_NOT_ALLOWED", "PERMISSION_MISSING", "STEP_UP_REQUIRED"
# What a mesh can decide; the rest is the service's.
OF_THE_MESH = frozenset({TOKEN_MISSING, TOKEN_EXPIRED, TOKEN_INVALID, WORKLOAD})


@dataclass(frozen=True)
class Person:
    """Whom a call is made for."""

    organization_id: str
    user_id: str
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Caller:
    """One kind of caller. From outside it comes as the edge; a workload of the mesh comes under its own certificate.

    `claims` replace what the token says and how it is signed; `fault` is why such a token is refused. `acting` is the
    person a workload names. `headers` are sent besides.
    """

    name: str
    workload: str = EDGE
    person: Person | None = None
    claims: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    fresh: bool = True
    acting: bool = False
    # True where Istio has no word for what is wrong with the token, so that only the service refuses it.
    beyond_istio: bool = False
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def outside(self) -> bool:
        return self.workload == EDGE

    def token(self, issuer: TokenIssuer, **changes: Any) -> str | None:
        """The access token, if it has one; `changes` replace claims that are not the caller's own."""
        if self.person is None or self.acting:
            return None
        person = self.person
        identity = {"organization_id": person.organization_id, "user_id": person.user_id, "roles": person.roles}
        return issuer.token(**{**identity, **changes, **self.claims})

    def metadata(self, token: str | None) -> tuple[tuple[str, str], ...]:
        """What the caller sends with each call."""
        pairs = list(self.headers)
        if token is not None:
            pairs.append(("authorization", f"Bearer {token}"))
        if self.acting and self.person is not None:
            pairs += _acting_for(self.person)
        return tuple(pairs)


def at_the_door(caller: Caller) -> Caller:
    """Who a workload is when it comes from outside: its certificate and whom it names count for nothing there."""
    if caller.outside:
        return caller
    headers = caller.metadata(None)
    return replace(
        caller, workload=EDGE, person=None if caller.acting else caller.person, acting=False, headers=headers
    )


def refusals(rule: Rule, caller: Caller) -> frozenset[str]:
    """Every reason that the proto gives to refuse the caller; none means that the call is let in."""
    reasons = {caller.fault} - {""}
    if caller.workload not in rule.callers:
        reasons.add(WORKLOAD)
    if caller.outside and not rule.anonymous and caller.person is None:
        reasons.add(TOKEN_MISSING)
    if caller.person is not None or not caller.outside:
        roles = caller.person.roles if caller.person else ()
        if rule.permission and not holds(permissions_of(roles), rule.permission):
            reasons.add(PERMISSION)
    if rule.step_up and caller.person is not None and not (caller.fresh and not caller.acting):
        reasons.add(STEP_UP)
    return frozenset(reasons)


def known_as(rule: Rule, caller: Caller) -> tuple[str, str, str]:
    """Workload, organization and user that the service must know of a caller it lets in."""
    person = None if rule.anonymous else caller.person
    return (caller.workload, person.organization_id if person else "", person.user_id if person else "")


def from_outside(issuer: TokenIssuer) -> Iterator[Caller]:
    """Callers who come through the door."""
    owner = Person("org_a", "usr_owner", ("owner",))
    yield Caller("anonymous")
    pretended = (("x-forwarded-client-cert", "URI=spiffe://deskmesh.local/ns/dev/sa/orchestrator"), *_acting_for(owner))
    yield Caller("anonymous who claims to be a workload acting for the owner", headers=pretended)
    for role in (*ROLES, *SPECIALISTS):
        yield Caller(role, person=Person("org_a", f"usr_{role}", (role,)))
    yield Caller("owner who claims to act for another", person=owner, headers=pretended)
    yield Caller("owner of another tenant", person=Person("org_b", "usr_other", ("owner",)))
    for scope in ("+tickets.read", "+articles.read"):
        yield Caller(f"key with the scope {scope}", person=Person("org_a", "usr_key", (scope,)))
    yield Caller("person without a role", person=Person("org_a", "usr_none", ()))
    yield Caller("person with a made-up role", person=Person("org_a", "usr_made_up", ("root",)))
    old = int(time.time() - STEP_UP_SECONDS - 60)
    yield Caller("owner who signed in long ago", person=owner, claims={"auth_time": old}, fresh=False)
    expired = int(time.time()) - 600
    yield Caller("expired token", person=owner, claims={"exp": expired}, fault=TOKEN_EXPIRED)
    bad: Mapping[str, Mapping[str, Any]] = {
        "forged token": {"key": TokenIssuer().key},
        "token of an unknown key": {"headers": {"kid": "another"}},
        "token of another issuer": {"iss": "https://elsewhere.example"},
        "token for another audience": {"aud": "somebody-else"},
        "token without an end": {"exp": None},
    }
    for name, claims in bad.items():
        yield Caller(name, person=owner, claims=claims, fault=TOKEN_INVALID, beyond_istio="exp" in claims)


def from_inside(workloads: Iterable[str]) -> Iterator[Caller]:
    """Workloads of the mesh, each alone and for a person; and two that have no business here."""
    for workload in (*workloads, STRANGER, ELSEWHERE):
        if workload == EDGE:
            continue
        yield Caller(f"{workload} alone", workload)
        for role in ("customer", "owner"):
            person = Person("org_a", f"usr_{role}", (role,))
            yield Caller(f"{workload} for a {role}", workload, person, acting=True)
        yield Caller(f"{workload} with an owner's token", workload, Person("org_a", "usr_owner", ("owner",)))


def _acting_for(person: Person) -> list[tuple[str, str]]:
    return [
        (ACTING_ORGANIZATION, person.organization_id),
        (ACTING_USER, person.user_id),
        (ACTING_ROLES, ",".join(person.roles)),
    ]
