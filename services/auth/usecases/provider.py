"""What programs ask of the OAuth provider itself: tokens, device codes, and about tokens."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from services.auth.account_ports import Allowances
from services.auth.audit import AuditEvent, EventType
from services.auth.domain import Principal, RefreshFamily, hash_refresh_token
from services.auth.errors import RefreshTokenInvalid
from services.auth.oauth import (
    AUTHORIZATION_CODE,
    DEVICE_CODE,
    DEVICE_LIFETIME,
    OPENID,
    POLL_SECONDS,
    REFRESH_TOKEN,
    TOKEN_EXCHANGE,
    Approval,
    DeviceRequest,
    Form,
    Refused,
    claims_of,
    hash_secret,
    hash_user_code,
    new_secret,
    new_user_code,
)
from services.auth.oauth_ports import Grammar, IdTokens, ReadToken, TokenReader
from services.auth.ports import Work, WorkFactory
from services.auth.usecases.exchange import Exchanged, Exchanges
from services.auth.usecases.opening import Openings, SignedIn, TokenPair
from services.auth.usecases.sessions import Sessions
from services.common.clock import Clock

# From one place: devices that begin, and requests for tokens, which a waiting device makes every five seconds.
DEVICES_PER_HOUR = 120
TOKENS_PER_MINUTE = 600
MOST_POLL_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Issued:
    """What a program gets."""

    pair: TokenPair
    scopes: tuple[str, ...]
    id_token: str = ""


@dataclass(frozen=True, slots=True)
class DeviceCodes:
    """What a device waits with, and what it shows."""

    device_code: str
    user_code: str
    lifetime_seconds: int
    interval_seconds: int


class Provider:
    """The OAuth provider. Everything raises Refused, in OAuth's words, or TooManyAttempts."""

    def __init__(
        self,
        work: WorkFactory,
        grammar: Grammar,
        openings: Openings,
        sessions: Sessions,
        id_tokens: IdTokens,
        reader: TokenReader,
        exchanges: Exchanges,
        allowances: Allowances,
        clock: Clock,
        *,
        pepper: bytes,
    ) -> None:
        self._work = work
        self._grammar = grammar
        self._openings = openings
        self._sessions = sessions
        self._id_tokens = id_tokens
        self._reader = reader
        self._exchanges = exchanges
        self._allowances = allowances
        self._clock = clock
        self._pepper = pepper

    async def token(self, form: Form, source: str) -> Issued | Exchanged:
        """Tokens for a code, a device code or a refresh token; or a narrower token for another."""
        await self._allowances.take("oauth-tokens", source, TOKENS_PER_MINUTE, timedelta(minutes=1))
        match form.get("grant_type"):
            case "":
                raise Refused("invalid_request", "Missing 'grant_type' in request.")
            case grant if grant == AUTHORIZATION_CODE:
                return await self._redeem(form)
            case grant if grant == DEVICE_CODE:
                return await self._poll(form)
            case grant if grant == REFRESH_TOKEN:
                return await self._renew(form)
            case grant if grant == TOKEN_EXCHANGE:
                return await self._exchanges.exchange(form)
        raise Refused("unsupported_grant_type")

    async def device_authorization(self, form: Form, source: str) -> DeviceCodes:
        """Codes for a device that asks to be let in."""
        await self._allowances.take("devices", source, DEVICES_PER_HOUR, timedelta(hours=1))
        client, scopes = self._grammar.device_authorization(form)
        device_code, user_code = new_secret(), new_user_code()
        kept = DeviceRequest(
            hash_secret(device_code),
            hash_user_code(user_code, self._pepper),
            client.id,
            scopes,
            self._clock() + DEVICE_LIFETIME,
        )
        async with self._work.system() as work:
            await work.grants.add_device(kept)
            await work.commit()
        return DeviceCodes(device_code, user_code, int(DEVICE_LIFETIME.total_seconds()), POLL_SECONDS)

    async def revoke(self, form: Form) -> None:
        """End the sign-in of a token, if it is the program's own (RFC 7009)."""
        client = self._grammar.client(form, "revoke")
        token = form.get("token")
        if not token:
            raise Refused("invalid_request", "Missing 'token' in request.")
        async with self._work.system() as work:
            stored = await work.refresh_tokens.find_locked(hash_refresh_token(token))
            family = stored.family if stored else await self._family(work, self._reader.read(token))
            if family is not None and family.client_id == client.id and family.revoked_at is None:
                await self._sessions.end(work, family, EventType.SIGN_OUT, self._clock())

    async def introspect(self, form: Form) -> dict[str, object]:
        """What a token says while it holds (RFC 7662); of other programs' only for who may ask."""
        client = self._grammar.client(form, "introspect")
        if client.is_public:
            raise Refused("invalid_client", "Only programs that prove who they are may ask.", status=401)
        token = form.get("token")
        if not token:
            raise Refused("invalid_request", "Missing 'token' in request.")
        async with self._work.system() as work:
            read = self._reader.read(token)
            family = await self._live(work, read)
            if read is not None and family is not None:
                return _told(read) if client.introspects or read.client_id == client.id else {"active": False}
            stored = await work.refresh_tokens.find_locked(hash_refresh_token(token))
            live = stored is not None and stored.spent_at is None and stored.is_live(self._clock())
            if stored is None or not live or stored.family.client_id != client.id:
                return {"active": False}
            return {
                "active": True,
                "client_id": client.id,
                "scope": " ".join(stored.family.scopes),
                "sub": stored.family.user_id,
                "exp": int(stored.expires_at.timestamp()),
            }

    async def userinfo(self, token: str) -> dict[str, object]:
        """What the token's scopes tell of its person."""
        async with self._work.system() as work:
            read = self._reader.read(token)
            family = await self._live(work, read)
            if read is None or family is None:
                raise Refused("invalid_token", "The access token is not valid here.", status=401)
            if OPENID not in family.scopes:
                raise Refused("insufficient_scope", "The scope 'openid' is needed.", status=403)
            return await self._claims(work, family)

    async def _redeem(self, form: Form) -> Issued:
        client = self._grammar.client(form, "token")
        async with self._work.system() as work:
            found = await work.grants.find_code_locked(hash_secret(form.get("code")))
            if found is not None and found.issued_family_id and found.client_id == client.id:
                # Somebody has a copy of the code, and nobody knows who came first.
                family = await work.refresh_tokens.find_family(found.issued_family_id)
                if family is not None and family.revoked_at is None:
                    await self._sessions.end(work, family, EventType.SIGN_IN_REVOKED, self._clock())
                raise Refused("invalid_grant", "The code was used before.")
            self._grammar.code(form, found)
            if found is None or found.expires_at <= self._clock():
                raise Refused("invalid_grant", "The code is too old.")
            signed_in = await self._begin(work, found.approval, client.id, found.scopes)
            await work.grants.redeem_code(found.hash, signed_in.family.id)
            issued = await self._issued(work, signed_in, nonce=found.nonce)
            await work.commit()
        return issued

    async def _poll(self, form: Form) -> Issued:
        async with self._work.system() as work:
            now = self._clock()
            found = await work.grants.find_device_locked(hash_secret(form.get("device_code")))
            try:
                client = self._grammar.device(form, found, now)
            except Refused as refused:
                if found is not None and refused.error in ("authorization_pending", "slow_down"):
                    longer = found.interval_seconds + (POLL_SECONDS if refused.error == "slow_down" else 0)
                    interval = min(longer, MOST_POLL_SECONDS)
                    await work.grants.update_device(replace(found, polled_at=now, interval_seconds=interval))
                    await work.commit()
                raise
            if found is None or found.approval is None:
                raise Refused("invalid_grant")
            signed_in = await self._begin(work, found.approval, client.id, found.scopes)
            await work.grants.remove_device(found.hash)
            issued = await self._issued(work, signed_in)
            await work.commit()
        return issued

    async def _renew(self, form: Form) -> Issued:
        token = form.get("refresh_token")
        async with self._work.system() as work:
            stored = await work.refresh_tokens.find_locked(hash_refresh_token(token))
        family = stored.family if stored is not None and stored.family.client_id else None
        client = self._grammar.refresh(form, family)
        if family is None:
            raise Refused("invalid_grant")
        asked = form.get("scope").split()
        if asked and set(asked) != set(family.scopes):
            raise Refused("invalid_scope", "Ask for all that was granted, or name no scope.")
        try:
            pair = await self._sessions.refresh(token, (client.id,))
        except RefreshTokenInvalid:
            raise Refused("invalid_grant", "The refresh token is used, too old or revoked.") from None
        return Issued(pair, family.scopes)

    async def _begin(self, work: Work, approval: Approval, client_id: str, scopes: Sequence[str]) -> SignedIn:
        """The sign-in of a program, unless the one it was let in from has ended meanwhile."""
        family = await work.refresh_tokens.find_family(approval.family_id)
        place = await work.memberships.find_held(approval.organization_id, approval.user_id)
        if family is None or family.revoked_at is not None or place is None:
            raise Refused("invalid_grant", "The person has signed out since.")
        organization = await work.organizations.get(approval.organization_id)
        signed_in = await self._openings.begin(
            work,
            Principal(place.user, organization, place.roles, place.custom_permissions),
            approval.methods,
            authenticated_at=approval.authenticated_at,
            client_id=client_id,
            scopes=scopes,
        )
        event = AuditEvent.of(
            EventType.SIGN_IN,
            organization.id,
            at=self._clock(),
            actor_id=place.user.id,
            subject_id=signed_in.family.id,
            details={"client_id": client_id},
        )
        await work.audit.add(event)
        return signed_in

    async def _issued(self, work: Work, signed_in: SignedIn, *, nonce: str = "") -> Issued:
        family, pair = signed_in.family, signed_in.tokens
        if OPENID not in family.scopes:
            return Issued(pair, family.scopes)
        claims = await self._claims(work, family)
        id_token = self._id_tokens.issue(claims, family, nonce=nonce, access_token=pair.access.value)
        return Issued(pair, family.scopes, id_token)

    async def _claims(self, work: Work, family: RefreshFamily) -> dict[str, object]:
        user = await work.users.get(family.user_id)
        account = await work.accounts.get(family.user_id)
        verified = account.email_verified_at is not None
        return claims_of(user, family.organization_id, family.scopes, email_verified=verified)

    async def _family(self, work: Work, read: ReadToken | None) -> RefreshFamily | None:
        return await work.refresh_tokens.find_family(read.family_id) if read and read.family_id else None

    async def _live(self, work: Work, read: ReadToken | None) -> RefreshFamily | None:
        """The sign-in of a token, unless it, or the person's place, has ended."""
        family = await self._family(work, read)
        if family is None or family.revoked_at is not None:
            return None
        place = await work.memberships.find(family.organization_id, family.user_id)
        return family if place is not None else None


def _told(read: ReadToken) -> dict[str, object]:
    told: dict[str, object] = {
        "active": True,
        "token_type": "Bearer",
        "sub": read.user_id,
        "org": read.organization_id,
        "jti": read.token_id,
        "aud": read.audience,
        "iss": read.issuer,
        "iat": int(read.issued_at),
        "exp": int(read.expires_at),
    }
    if read.client_id:
        told |= {"client_id": read.client_id, "scope": " ".join(read.scopes)}
    return told
