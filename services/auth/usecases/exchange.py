"""A program's token for one service, in exchange for that of the person it works for (RFC 8693)."""

from dataclasses import dataclass

from services.auth.api_keys import effective
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Membership
from services.auth.oauth import ACCESS_TOKEN_TYPE, TOKEN_EXCHANGE, Client, Form, Refused
from services.auth.oauth_ports import Grammar, Narrowed, NarrowTokens, ReadToken, TokenReader
from services.auth.ports import Work, WorkFactory
from services.common.clock import Clock
from services.common.permissions import permissions_of

# Long enough for a piece of work; whoever works longer exchanges again, while the person is still there.
LIFETIME_SECONDS = 300
# What RFC 8693 knows and would change what is asked, so that it must not be passed over.
NOT_OFFERED = ("actor_token", "actor_token_type", "resource")


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A token for one service, without a refresh token."""

    access_token: str
    lifetime_seconds: int
    scopes: tuple[str, ...]


class Exchanges:
    """Gives programs narrower tokens; `catalogue` is every permission there is. Everything raises Refused."""

    def __init__(
        self,
        work: WorkFactory,
        grammar: Grammar,
        reader: TokenReader,
        tokens: NarrowTokens,
        clock: Clock,
        catalogue: frozenset[str],
    ) -> None:
        self._work = work
        self._grammar = grammar
        self._reader = reader
        self._tokens = tokens
        self._clock = clock
        self._catalogue = catalogue

    async def exchange(self, form: Form) -> Exchanged:
        """A token that does at one service what the scopes say, and never more than its subject."""
        client = self._grammar.client(form, "token")
        service = _asked_of(client, form)
        wanted = frozenset(form.get("scope").split())
        if not wanted or not wanted <= self._catalogue:
            raise Refused("invalid_scope", "Name the permissions that are needed, and no others.")
        subject = self._reader.read(form.get("subject_token"))
        async with self._work.system() as work:
            place = await self._place(work, subject)
            if subject is None or place is None:
                raise Refused("invalid_request", "The subject token does not hold, or is not a person's own.")
            # Neither more than the token said nor more than the person may by now.
            allowed = effective(effective(wanted, permissions_of(subject.roles)), permissions_of(place.grants))
            if len(allowed) < len(wanted):
                raise Refused("invalid_scope", "The person does not have all of these permissions.")
            now = self._clock().timestamp()
            lifetime = min(LIFETIME_SECONDS, int(subject.expires_at - now))
            if lifetime <= 0:
                raise Refused("invalid_request", "The subject token does not hold, or is not a person's own.")
            token = self._tokens.issue(Narrowed(subject, client.id, service, allowed, lifetime))
            scopes = tuple(sorted(allowed))
            await work.audit.add(self._event(subject, client, service, scopes))
            await work.commit()
        return Exchanged(token, lifetime, scopes)

    async def _place(self, work: Work, subject: ReadToken | None) -> Membership | None:
        """Where the person is by now; None unless the token is whole and of a sign-in that goes on."""
        if subject is None or not subject.family_id or not self._tokens.is_whole(subject):
            return None
        family = await work.refresh_tokens.find_family(subject.family_id)
        if family is None or family.revoked_at is not None:
            return None
        return await work.memberships.find(subject.organization_id, subject.user_id)

    def _event(self, subject: ReadToken, client: Client, service: str, scopes: tuple[str, ...]) -> AuditEvent:
        return AuditEvent.of(
            EventType.TOKEN_EXCHANGED,
            subject.organization_id,
            at=self._clock(),
            actor_id=client.id,
            subject_id=subject.user_id,
            details={"client_id": client.id, "service": service, "scopes": ",".join(scopes)},
        )


def _asked_of(client: Client, form: Form) -> str:
    """The service that the token is to be for. Raises Refused."""
    if TOKEN_EXCHANGE not in client.grants:
        raise Refused("unauthorized_client", "This program may not exchange tokens.")
    for name in NOT_OFFERED:
        if form.get(name):
            raise Refused("invalid_request", f"'{name}' is not offered.")
    if not form.get("subject_token") or form.get("subject_token_type") != ACCESS_TOKEN_TYPE:
        raise Refused("invalid_request", "An access token is wanted in 'subject_token', with its type.")
    if form.get("requested_token_type") not in ("", ACCESS_TOKEN_TYPE):
        raise Refused("invalid_request", "Only access tokens are given.")
    service = form.get("audience")
    if service not in client.exchanges:
        raise Refused("invalid_target", "There is no such service for this program.")
    return service
