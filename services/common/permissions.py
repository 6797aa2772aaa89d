"""What each role may do. A permission ending in `.own` covers only what belongs to the person."""

from collections.abc import Iterable, Mapping
from functools import cache
from types import MappingProxyType

CUSTOMER = "customer"
AGENT = "agent"
SUPERVISOR = "supervisor"
ADMIN = "admin"
OWNER = "owner"

# From least to most powerful: each staff role holds what the one before it holds.
ROLES = (CUSTOMER, AGENT, SUPERVISOR, ADMIN, OWNER)

OWN = ".own"

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
    ADMIN: frozenset({"audit.read", "members.write"}),
    OWNER: frozenset(),
}


def _accumulate() -> Mapping[str, frozenset[str]]:
    held: dict[str, frozenset[str]] = {}
    below: frozenset[str] = frozenset()
    for role in ROLES:
        below |= _GRANTS[role]
        held[role] = below
    return MappingProxyType(held)


PERMISSIONS = _accumulate()


@cache
def permissions_of(roles: tuple[str, ...]) -> frozenset[str]:
    """Everything the roles hold together; a role that is not known holds nothing."""
    return frozenset().union(*(PERMISSIONS.get(role, frozenset()) for role in roles))


def holds(permissions: Iterable[str], permission: str) -> bool:
    """True when the permission itself or its `.own` variant is among those held."""
    held = permissions if isinstance(permissions, frozenset) else frozenset(permissions)
    return permission in held or permission + OWN in held
