"""Who calls, in what trace and under which request_id: what the interceptors learned about the call being served."""

from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property

from services.common.permissions import OWN
from services.common.tracing import current_ids

# The session of a token that an API key was exchanged for is the key.
API_KEY_ID = "key_"


@dataclass(frozen=True, slots=True)
class Caller:
    """The workload at the other end and the person it acts for; without a person the person's fields are empty.

    The last five are of the person's own access token, see `tokens.Claims`; a workload's word for a person has none.
    """

    workload: str
    organization_id: str = ""
    user_id: str = ""
    roles: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()
    token_id: str = ""
    session_id: str = ""
    issued_at: float = 0.0
    authenticated_at: float = 0.0
    methods: tuple[str, ...] = ()
    # Seconds since the epoch; 0 for a caller whom no token let in.
    expires_at: float = 0.0

    @property
    def by_key(self) -> bool:
        """True when an API key was exchanged for the token: it opens what its scopes name, and nothing personal."""
        return self.session_id.startswith(API_KEY_ID)

    @property
    def key_id(self) -> str:
        """The API key that was exchanged for the token; empty when none was."""
        return self.session_id if self.by_key else ""

    def may(self, permission: str) -> bool:
        """True when the person holds the permission without being narrowed to what is their own."""
        return permission in self.permissions

    def owns_only(self, permission: str) -> bool:
        """True when the person holds only the `.own` variant: narrow to what belongs to `user_id`."""
        return permission not in self.permissions and permission + OWN in self.permissions


class NoCaller(RuntimeError):
    """The code runs outside of a call."""


@dataclass(frozen=True)
class IdempotencyKey:
    """What makes a repeated call recognizable; `fingerprint` is the SHA-256 of the request and of who sent it."""

    request_id: str
    method: str
    fingerprint: bytes

    @cached_property
    def short_method(self) -> str:
        """The RPC's name alone."""
        return self.method.rpartition("/")[2]


_caller: ContextVar[Caller | None] = ContextVar("deskmesh_caller", default=None)
_idempotency: ContextVar[IdempotencyKey | None] = ContextVar("deskmesh_idempotency", default=None)

set_caller = _caller.set
set_idempotency = _idempotency.set
current_caller = _caller.get


def caller() -> Caller:
    """Who calls. Raises NoCaller outside of a call."""
    found = _caller.get()
    if found is None:
        raise NoCaller("no call is being served here")
    return found


def idempotency() -> IdempotencyKey:
    """The key of the call. Raises NoCaller unless the RPC's policy says REQUEST_ID."""
    found = _idempotency.get()
    if found is None:
        raise NoCaller("this call has no request_id by its policy")
    return found


def trace_id() -> str:
    """The trace the code runs in, as 32 hexadecimal digits; empty outside of any."""
    return current_ids()[0]
