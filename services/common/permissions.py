"""What each role may do. A permission ending in `.own` covers only what belongs to the person.

Wherever roles are named (in access tokens, between services, in stored work) a single permission may stand among them,
written `+tickets.read`: custom roles and the scopes of API keys travel like that, so only auth needs to know of them.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

CUSTOMER = "customer"
AGENT = "agent"
SUPERVISOR = "supervisor"
ADMIN = "admin"
OWNER = "owner"

ML_ENGINEER = "ml_engineer"
BILLING = "billing"

# From least to most powerful: each staff role holds what the one before it holds.
ROLES = (CUSTOMER, AGENT, SUPERVISOR, ADMIN, OWNER)

# They stand beside that line; owners hold what they hold.
SPECIALISTS = (ML_ENGINEER, BILLING)

OWN = ".own"
SINGLE = "+"

_GRANTS: Mapping[str, frozenset[str]] = {
    CUSTOMER: frozenset(
        {
            "articles.read",
            "conversations.assign.own",
            "conversations.read.own",
            "conversations.write.own",
            "tickets.comment.own",
            "tickets.create.own",
            "tickets.read.own",
            "tickets.update.own",
            "turns.read.own",
            "turns.write.own",
        }
    ),
    AGENT: frozenset(
        {
            "articles.write",
            "conversations.assign",
            "conversations.read",
            "conversations.write",
            "keys.read.own",
            "keys.write.own",
            "members.read",
            "tickets.comment",
            "tickets.create",
            "tickets.read",
            "tickets.update",
            "turns.read",
            "turns.write",
        }
    ),
    SUPERVISOR: frozenset({"articles.publish"}),
    ADMIN: frozenset(
        {
            "audit.read",
            "budgets.read",
            "budgets.write",
            "identity_providers.read",
            "inference.use",
            "keys.read",
            "keys.write",
            "members.write",
            "roles.write",
            "service_accounts.read",
            "service_accounts.write",
            "usage.read",
        }
    ),
    OWNER: frozenset({"identity_providers.write"}),
    ML_ENGINEER: frozenset(
        {"articles.read", "inference.use", "keys.read.own", "keys.write.own", "models.read", "models.write"}
    ),
    BILLING: frozenset(
        {"budgets.read", "budgets.write", "keys.read.own", "keys.write.own", "members.read", "usage.read"}
    ),
}


def _accumulate() -> Mapping[str, frozenset[str]]:
    held: dict[str, frozenset[str]] = {}
    below: frozenset[str] = frozenset()
    for role in ROLES:
        below |= _GRANTS[role]
        held[role] = below
    for role in SPECIALISTS:
        held[role] = _GRANTS[role]
        held[OWNER] |= _GRANTS[role]
    return MappingProxyType(held)


PERMISSIONS = _accumulate()
EVERY_PERMISSION = frozenset[str]().union(*PERMISSIONS.values())


def is_known(role: str) -> bool:
    """True for a built-in role, and for a single permission that exists."""
    return role in PERMISSIONS or (role.startswith(SINGLE) and role[len(SINGLE) :] in EVERY_PERMISSION)


def singles(permissions: Iterable[str]) -> tuple[str, ...]:
    """The permissions, sorted, as they stand among roles."""
    return tuple(SINGLE + permission for permission in sorted(permissions))


@lru_cache(maxsize=4096)
def permissions_of(roles: tuple[str, ...]) -> frozenset[str]:
    """Everything the roles hold together, single permissions included; what is not known holds nothing."""
    known = [role for role in roles if is_known(role)]
    return frozenset().union(*(PERMISSIONS.get(role) or {role.removeprefix(SINGLE)} for role in known))


def holds(permissions: Iterable[str], permission: str) -> bool:
    """True when the permission itself or its `.own` variant is among those held."""
    held = permissions if isinstance(permissions, frozenset) else frozenset(permissions)
    return permission in held or permission + OWN in held
