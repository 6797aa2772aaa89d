"""People let programs in, or do not: in the browser that a program sent here, or by the code that a device shows."""

from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

from services.auth.account_ports import Allowances
from services.auth.audit import AuditEvent, EventType
from services.auth.oauth import (
    Approval,
    Asked,
    AuthorizationCode,
    Client,
    DeviceRequest,
    Form,
    Refused,
    answered,
    hash_user_code,
)
from services.auth.oauth_errors import ConsentRequestInvalid, NotTheirs, UserCodeInvalid
from services.auth.oauth_ports import Grammar
from services.auth.ports import Work, WorkFactory
from services.common.clock import Clock

# User codes that one person, and one place, may try.
CODES_PER_PERSON = 20
CODES_PER_PLACE = 100
CODES_WINDOW = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Subject:
    """By what a program asks: the query of an authorization request, or a code that a device shows."""

    authorization: str = ""
    user_code: str = ""


@dataclass(frozen=True, slots=True)
class Answerer:
    """Who is there: in which sign-in, and from where."""

    user_id: str
    organization_id: str
    family_id: str
    source: str


@dataclass(frozen=True, slots=True)
class Question:
    """Which program asks for what; an answer in the browser goes to `redirect_host`."""

    client: Client
    scopes: tuple[str, ...]
    redirect_host: str = ""


class Consents:
    """What programs ask of people. `pepper` is the key of the hashes of user codes."""

    def __init__(
        self,
        work: WorkFactory,
        grammar: Grammar,
        clients: dict[str, Client],
        allowances: Allowances,
        clock: Clock,
        *,
        issuer: str,
        pepper: bytes,
    ) -> None:
        self._work = work
        self._grammar = grammar
        self._clients = clients
        self._allowances = allowances
        self._clock = clock
        self._issuer = issuer
        self._pepper = pepper

    async def get(self, subject: Subject, me: Answerer) -> Question:
        """Who asks, and for what. Raises ConsentRequestInvalid, UserCodeInvalid or TooManyAttempts."""
        if not subject.user_code:
            asked = self._asked(subject.authorization)
            return Question(asked.client, asked.scopes, urlsplit(asked.redirect_uri).netloc)
        await self._allow_code(me)
        async with self._work.system() as work:
            device = await self._device(work, subject.user_code)
        return Question(self._clients[device.client_id], device.scopes)

    async def answer(self, subject: Subject, me: Answerer, *, approved: bool) -> str:
        """Where to send the browser; nothing for a device.

        Raises ConsentRequestInvalid, UserCodeInvalid, NotTheirs or TooManyAttempts.
        """
        if not subject.user_code:
            return await self._answer_browser(self._asked(subject.authorization), me, approved=approved)
        await self._allow_code(me)
        async with self._work.system() as work:
            device = await self._device(work, subject.user_code)
            approval = await self._approval(work, me) if approved else None
            await work.grants.update_device(replace(device, denied=not approved, approval=approval))
            if approved:
                await work.audit.add(self._granted(me, device.client_id, "device"))
            await work.commit()
        return ""

    async def _answer_browser(self, asked: Asked, me: Answerer, *, approved: bool) -> str:
        if not approved:
            refusal = {"error": "access_denied", "state": asked.state, "iss": self._issuer}
            return answered(asked.redirect_uri, refusal)
        async with self._work.system() as work:
            approval = await self._approval(work, me)
            code, kept = AuthorizationCode.new(asked, approval, at=self._clock())
            await work.grants.add_code(kept)
            await work.audit.add(self._granted(me, asked.client.id, "browser"))
            await work.commit()
        return answered(asked.redirect_uri, {"code": code, "state": asked.state, "iss": self._issuer})

    def _asked(self, query: str) -> Asked:
        try:
            return self._grammar.authorization(Form.of(parse_qsl(query, keep_blank_values=True)))
        except (Refused, ValueError) as error:
            words = error.description or error.error if isinstance(error, Refused) else "invalid_request"
            raise ConsentRequestInvalid(metadata={"error": words}) from None

    async def _device(self, work: Work, user_code: str) -> DeviceRequest:
        device = await work.grants.find_user_code_locked(hash_user_code(user_code, self._pepper))
        if device is None or device.is_answered or device.expires_at <= self._clock():
            raise UserCodeInvalid
        return device

    async def _approval(self, work: Work, me: Answerer) -> Approval:
        family = await work.refresh_tokens.find_family(me.family_id)
        if family is None or family.revoked_at is not None or family.client_id:
            raise NotTheirs
        proved = family.authenticated_at or family.created_at
        return Approval(me.user_id, me.organization_id, family.id, proved, family.methods)

    async def _allow_code(self, me: Answerer) -> None:
        await self._allowances.take("user-code", me.user_id, CODES_PER_PERSON, CODES_WINDOW)
        await self._allowances.take("user-codes-from", me.source, CODES_PER_PLACE, CODES_WINDOW)

    def _granted(self, me: Answerer, client_id: str, how: str) -> AuditEvent:
        details = {"client_id": client_id, "how": how}
        return AuditEvent.of(
            EventType.CONSENT_GRANTED,
            me.organization_id,
            at=self._clock(),
            actor_id=me.user_id,
            subject_id=me.user_id,
            details=details,
        )
