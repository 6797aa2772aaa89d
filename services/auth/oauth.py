"""Programs that people let act in their name: who they are, what they may ask for, and what was granted to them."""

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self
from urllib.parse import urlencode, urlsplit

from services.auth.domain import User

CODE_LIFETIME = timedelta(seconds=60)
DEVICE_LIFETIME = timedelta(minutes=10)
POLL_SECONDS = 5
SECRET_BYTES = 32
# Without vowels, so that no word comes out, and nothing that looks like something else; 34 bits.
USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
USER_CODE_LENGTH = 8

OPENID = "openid"
PROFILE = "profile"
EMAIL = "email"
# Everything the person may do. A token without it opens nothing but the userinfo endpoint.
API = "deskmesh"
SCOPES = (OPENID, PROFILE, EMAIL, API)

AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"  # noqa: S105 - a name, not a secret
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name, not a secret
ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name, not a secret

CLI = "deskmesh-cli"


class Refused(Exception):
    """A request is answered with an error of OAuth: `error` is its word, `description` is for developers.

    `redirect_uri` is where the program may be told; empty when it is not known to be the program's.
    """

    def __init__(self, error: str, description: str = "", *, status: int = 400, redirect_uri: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status
        self.redirect_uri = redirect_uri


@dataclass(frozen=True, slots=True)
class Form:
    """The parameters of a request, each there once, and its `Authorization` header."""

    parameters: Mapping[str, str]
    authorization: str = field(default="", repr=False)

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]], authorization: str = "") -> Self:
        """Raises Refused for a parameter that comes twice; an empty one counts as absent (RFC 6749, 3.1)."""
        parameters: dict[str, str] = {}
        for name, value in pairs:
            if name in parameters:
                raise Refused("invalid_request", "A parameter comes twice.")
            if value:
                parameters[name] = value
        return cls(parameters, authorization)

    def get(self, name: str) -> str:
        """The parameter, or nothing."""
        return self.parameters.get(name, "")


@dataclass(frozen=True, slots=True)
class Client:
    """A program known here. Without a secret it is a public one: anybody can say that they are it."""

    id: str
    name: str
    grants: frozenset[str]
    redirect_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = SCOPES
    # SHA-256 of a secret that nobody guesses.
    secret_hash: bytes = field(default=b"", repr=False)
    # May ask about tokens of other programs, as what takes tokens must.
    introspects: bool = False
    # Services it may have narrower tokens for, in exchange for those of people.
    exchanges: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        return not self.secret_hash

    def knows(self, secret: str) -> bool:
        """Whether this is the secret."""
        digest = hashlib.sha256(secret.encode()).digest()
        return bool(self.secret_hash) and hmac.compare_digest(digest, self.secret_hash)

    def redirects_to(self, uri: str) -> bool:
        """Whether the address is the program's, letter by letter; on loopback any port will do (RFC 8252, 7.3)."""
        return any(uri == known or _same_loopback(uri, known) for known in self.redirect_uris)

    def allowed(self, asked: Sequence[str]) -> tuple[str, ...] | None:
        """The scopes asked for, in order and once each; None unless the program may have them all."""
        if not asked or not set(asked) <= set(self.scopes):
            return None
        return tuple(scope for scope in SCOPES if scope in asked)


def _same_loopback(uri: str, known: str) -> bool:
    try:
        there, here = urlsplit(uri), urlsplit(known)
        port = there.port
    except ValueError:
        return False
    if here.scheme != "http" or not _is_loopback(here.hostname or "") or here.port is not None or port is None:
        return False
    host = f"[{here.hostname}]" if ":" in (here.hostname or "") else here.hostname
    return uri == here._replace(netloc=f"{host}:{port}").geturl()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_redirect_uri(uri: str) -> None:
    """Raises ValueError for an address that no answer may be sent to: not HTTPS, unless on this very machine."""
    parts = urlsplit(uri)
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    if not safe or not parts.hostname or "#" in uri or "@" in parts.netloc:
        raise ValueError(f"{uri} is no HTTPS address, nor one of a loopback interface, without a fragment")


# What everybody can download; it names itself and proves nothing.
COMMAND_LINE = Client(
    CLI,
    "Deskmesh on the command line",
    frozenset({AUTHORIZATION_CODE, REFRESH_TOKEN, DEVICE_CODE}),
    ("http://127.0.0.1/callback", "http://[::1]/callback"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a program asks a person for, by sending the browser here."""

    client: Client
    redirect_uri: str
    scopes: tuple[str, ...]
    code_challenge: str
    state: str = ""
    nonce: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """Who let a program in, where, in which sign-in, and how and when they had proved who they are."""

    user_id: str
    organization_id: str
    family_id: str
    authenticated_at: datetime
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """What is kept of a code. `issued_family_id` is the sign-in that it bought; it buys one."""

    hash: bytes
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    code_challenge: str
    nonce: str
    approval: Approval
    expires_at: datetime
    issued_family_id: str = ""

    @classmethod
    def new(cls, asked: Asked, approval: Approval, *, at: datetime) -> tuple[str, Self]:
        """A code and what is kept of it."""
        code = new_secret()
        kept = cls(
            hash_secret(code),
            asked.client.id,
            asked.redirect_uri,
            asked.scopes,
            asked.code_challenge,
            asked.nonce,
            approval,
            at + CODE_LIFETIME,
        )
        return code, kept


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a device asks, which a person answers elsewhere by the code it shows. `approval` is absent until then."""

    hash: bytes
    user_code_hash: bytes
    client_id: str
    scopes: tuple[str, ...]
    expires_at: datetime
    interval_seconds: int = POLL_SECONDS
    polled_at: datetime | None = None
    denied: bool = False
    approval: Approval | None = None

    @property
    def is_answered(self) -> bool:
        return self.denied or self.approval is not None

    def is_polled_too_soon(self, now: datetime) -> bool:
        """True when the device was told to wait longer than it did."""
        return self.polled_at is not None and now < self.polled_at + timedelta(seconds=self.interval_seconds)


def answered(redirect_uri: str, parameters: Mapping[str, str]) -> str:
    """The address with an answer in its query; what is empty is left out."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"


def claims_of(user: User, organization_id: str, scopes: Sequence[str], *, email_verified: bool) -> dict[str, object]:
    """What the scopes tell of a person, in the words of OpenID Connect."""
    claims: dict[str, object] = {"sub": user.id}
    if PROFILE in scopes:
        claims |= {"name": user.display_name, "org": organization_id}
    if EMAIL in scopes:
        claims |= {"email": user.email, "email_verified": email_verified}
    return claims


def new_secret() -> str:
    """256 random bits, as text."""
    return secrets.token_urlsafe(SECRET_BYTES)


def hash_secret(secret: str) -> bytes:
    """What is stored: SHA-256 is enough for what cannot be guessed."""
    return hashlib.sha256(secret.encode()).digest()


def new_user_code() -> str:
    """A code that people can read aloud, such as WDJB-MJHT."""
    letters = "".join(secrets.choice(USER_CODE_LETTERS) for _ in range(USER_CODE_LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def hash_user_code(code: str, pepper: bytes) -> bytes:
    """What is stored, however it was typed. Keyed, because what people can read aloud can be tried out."""
    letters = "".join(letter for letter in code.upper() if letter in USER_CODE_LETTERS)
    return hmac.digest(pepper, letters.encode(), hashlib.sha256)
