"""Groups of people at an organization's provider, and the roles that they give here."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.auth.domain import Role

GROUPS_CLAIM = "groups"
# Whoever is in more cannot be told from somebody who makes work.
MOST_GROUPS = 1000
# What an ID token says of everybody, which names no group.
RESERVED_CLAIMS = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "nonce", "azp", "at_hash", "auth_time"})
# Where claims are named that stand elsewhere, for those who ask there (OpenID Connect Core 1.0, 5.6.2).
_ELSEWHERE = "_claim_names"


@dataclass(frozen=True, slots=True)
class GroupRole:
    """A group, and the one role that it gives: built-in, or the organization's own by its identifier."""

    group: str
    role: Role | None = None
    custom_role_id: str = ""

    @property
    def held(self) -> str:
        """The role, as a word."""
        return str(self.role) if self.role else self.custom_role_id


class GroupsUnreadable(ValueError):
    """What should name groups does not."""


def groups_in(claims: Mapping[str, object], name: str) -> frozenset[str]:
    """A person's groups by a claim: a list of texts, or one text; none if it is not there.

    Raises GroupsUnreadable for anything else, for more than MOST_GROUPS, and for groups that are to be asked for
    elsewhere, as some providers answer for people who are in many.
    """
    said = claims.get(name)
    if said is None:
        elsewhere = claims.get(_ELSEWHERE)
        if isinstance(elsewhere, Mapping) and name in elsewhere:
            raise GroupsUnreadable
        return frozenset()
    groups = [said] if isinstance(said, str) else said
    if not isinstance(groups, list) or len(groups) > MOST_GROUPS:
        raise GroupsUnreadable
    if not all(isinstance(group, str) for group in groups):
        raise GroupsUnreadable
    return frozenset(groups)
