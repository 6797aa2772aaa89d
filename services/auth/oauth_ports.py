"""What OAuth needs from outside, in the domain's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.auth.domain import RefreshFamily
from services.auth.oauth import Asked, AuthorizationCode, Client, DeviceRequest, Form


class Grants(Protocol):
    """What people granted to programs and was not fetched yet; only units of work of the system see it."""

    async def add_code(self, code: AuthorizationCode) -> None:
        """Keep it."""

    async def find_code_locked(self, code_hash: bytes) -> AuthorizationCode | None:
        """The code; whoever else presents it waits until this unit of work ends."""

    async def redeem_code(self, code_hash: bytes, family_id: str) -> None:
        """Keep which sign-in the code bought."""

    async def add_device(self, device: DeviceRequest) -> None:
        """Keep it."""

    async def find_device_locked(self, device_hash: bytes) -> DeviceRequest | None:
        """What the device asked; whoever else wants it waits until this unit of work ends."""

    async def find_user_code_locked(self, user_code_hash: bytes) -> DeviceRequest | None:
        """What the device that shows this code asked, likewise."""

    async def update_device(self, device: DeviceRequest) -> None:
        """Keep the answer, and when it was asked for."""

    async def remove_device(self, device_hash: bytes) -> None:
        """It bought what it was for."""

    async def withdraw(self, user_id: str, client_id: str) -> None:
        """Forget what the person granted to the program and it has not fetched yet."""


class Grammar(Protocol):
    """What OAuth's documents say about requests: nothing here reads or writes a store. Everything raises Refused."""

    def authorization(self, form: Form) -> Asked:
        """What a program asks a person for."""

    def client(self, form: Form, endpoint: str) -> Client:
        """The program, which proved who it is as it must at the endpoint."""

    def device_authorization(self, form: Form) -> tuple[Client, tuple[str, ...]]:
        """The program that runs on a device, and the scopes it asks for."""

    def code(self, form: Form, found: AuthorizationCode | None) -> Client:
        """The program that may have what the code stands for."""

    def device(self, form: Form, found: DeviceRequest | None, now: datetime) -> Client:
        """The program on the device, when a person has let it in."""

    def refresh(self, form: Form, found: RefreshFamily | None) -> Client:
        """The program that may renew this sign-in."""


@dataclass(frozen=True, slots=True)
class ReadToken:
    """What a token of ours says whose signature and time hold; times in seconds since the epoch."""

    user_id: str
    organization_id: str
    family_id: str
    token_id: str
    client_id: str
    scopes: tuple[str, ...]
    audience: str
    issuer: str
    issued_at: float
    expires_at: float
    # Roles, and single permissions among them; none in a token for the userinfo endpoint alone.
    roles: tuple[str, ...] = ()


class TokenReader(Protocol):
    """Reads access tokens."""

    def read(self, token: str) -> ReadToken | None:
        """What it says, or None for anything that is no token of ours or has ended."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What a program may do for a person at one service: `permissions`, for `lifetime_seconds`."""

    subject: ReadToken
    client_id: str
    service: str
    permissions: frozenset[str]
    lifetime_seconds: int


class NarrowTokens(Protocol):
    """Signs tokens that hold for one service."""

    def is_whole(self, token: ReadToken) -> bool:
        """Whether a token holds for every service, and is not itself narrowed."""

    def issue(self, narrowed: Narrowed) -> str:
        """A token of the subject's sign-in that names the program as who acts, and tells of no fresh proof."""


class IdTokens(Protocol):
    """Signs what tells a program who signed in."""

    def issue(self, claims: Mapping[str, object], family: RefreshFamily, *, nonce: str, access_token: str) -> str:
        """A token about a person for the family's program."""
