"""What every way of proving who one is ends in: a family of refresh tokens and a first pair."""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.auth.domain import Membership, Principal, RefreshFamily, hash_refresh_token, new_refresh_token
from services.auth.errors import CredentialsInvalid, OrganizationNotFound
from services.auth.ports import AccessToken, AccessTokens, Work
from services.common.clock import Clock
from services.common.ids import new_id

# Ways to prove who one is, in the words of RFC 8176.
PASSWORD = "pwd"  # noqa: S105 - a name, not a secret
CODE = "otp"
# Not in the RFC, which has no word for look-up secrets.
RECOVERY = "recovery"
MULTIPLE = "mfa"
BOUND_KEY = "hwk"
SYNCED_KEY = "swk"
PRESENCE = "user"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """Proof of who somebody is; lifetimes in seconds."""

    access: AccessToken
    refresh: str
    refresh_lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person and the proof."""

    principal: Principal
    tokens: TokenPair
    family: RefreshFamily


class Openings:
    """Begins sign-ins and makes their pairs of tokens.

    `successor_key` is a secret of 32 bytes. The successor of a refresh token is derived with it from the token alone,
    so that whoever repeats a redemption gets the same successor, although only hashes are kept.
    """

    def __init__(
        self, access_tokens: AccessTokens, clock: Clock, *, refresh_lifetime: timedelta, successor_key: bytes
    ) -> None:
        self._access_tokens = access_tokens
        self._clock = clock
        self._successor_key = successor_key
        self.refresh_lifetime = refresh_lifetime

    async def begin(
        self,
        work: Work,
        principal: Principal,
        methods: Sequence[str],
        *,
        authenticated_at: datetime | None = None,
        client_id: str = "",
        scopes: Sequence[str] = (),
    ) -> SignedIn:
        """Open a family for a person who proved who they are by `methods`: just now, unless it says when.

        The principal's place is held, so that whoever changes it ends the token that is issued here.
        With a `client_id` it is that program's, for these scopes.
        """
        now = self._clock()
        token = new_refresh_token()
        family = RefreshFamily(
            new_id("rff"),
            principal.user.id,
            principal.organization.id,
            now,
            authenticated_at=authenticated_at or now,
            methods=tuple(methods),
            client_id=client_id,
            scopes=tuple(scopes),
        )
        await work.refresh_tokens.begin(family, hash_refresh_token(token), now + self.refresh_lifetime)
        return SignedIn(principal, self.pair(family, principal.grants, token), family)

    def successor_of(self, token: str) -> str:
        """256 bits that nobody guesses without the key, the same each time."""
        digest = hmac.digest(self._successor_key, token.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def pair(self, family: RefreshFamily, grants: Sequence[str], refresh: str) -> TokenPair:
        """A new access token of the family beside this refresh token."""
        return TokenPair(self.access(family, grants), refresh, int(self.refresh_lifetime.total_seconds()))

    def access(self, family: RefreshFamily, grants: Sequence[str]) -> AccessToken:
        """A new access token of the family."""
        proved: datetime = family.authenticated_at or family.created_at
        return self._access_tokens.issue(
            family.user_id,
            family.organization_id,
            grants,
            session_id=family.id,
            authenticated_at=proved,
            methods=family.methods,
            client_id=family.client_id,
            scopes=family.scopes,
        )


async def membership_of(work: Work, user_id: str, slug: str) -> Membership:
    """A person's place in the organization of this slug, or else the one they have had longest.

    Raises CredentialsInvalid.
    """
    if not slug:
        membership = await work.memberships.oldest_of(user_id)
    else:
        try:
            named = await work.organizations.get_by_slug(slug)
        except OrganizationNotFound:
            raise CredentialsInvalid from None
        membership = await work.memberships.find(named.id, user_id)
    if membership is None:
        raise CredentialsInvalid
    return membership


async def place_of(work: Work, user_id: str, slug: str) -> Principal:
    """The person in that place, which is held, as `Openings.begin` wants it. Raises CredentialsInvalid."""
    chosen = await membership_of(work, user_id, slug)
    membership = await work.memberships.find_held(chosen.organization_id, user_id)
    if membership is None:
        raise CredentialsInvalid
    organization = await work.organizations.get(membership.organization_id)
    return Principal(membership.user, organization, membership.roles, membership.custom_permissions)
