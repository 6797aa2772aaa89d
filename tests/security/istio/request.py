"""What is asked of a proxy, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

AUTHORIZATION = "authorization"


@dataclass(frozen=True)
class Workload:
    """The pods at the receiving end."""

    namespace: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Request:
    """A request as the callee's proxy sees it; `principal` is the peer's SPIFFE ID without scheme, "" without mTLS."""

    path: str
    principal: str = ""
    method: str = "POST"
    port: int = 0
    host: str = ""
    token: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def sent(self) -> Mapping[str, str]:
        """The headers, the one with the token included."""
        return {**self.headers, **({AUTHORIZATION: f"Bearer {self.token}"} if self.token is not None else {})}

    @property
    def namespace(self) -> str:
        """The peer's namespace, "" without mTLS."""
        return self.principal.split("/")[2] if self.principal else ""


@dataclass(frozen=True)
class Answer:
    """What the proxy does; `status` is 200, 401 or 403, or 0 for a connection that is closed."""

    status: int
    why: str = ""

    @property
    def allowed(self) -> bool:
        return self.status == 200


ALLOWED = Answer(200)


class Checked(NamedTuple):
    """What a provider of external authorization answers."""

    status: int
    headers: Mapping[str, str]


# Answers a check that has come through the proxy of the service and port; None when nobody answers.
Check = Callable[[str, int, Request], Checked | None]
# In an answer, whatever the provider's settings say: request headers that must not go on.
REMOVE = "x-envoy-auth-headers-to-remove"


def bearer_in(header: str) -> str | None:
    """The token in a header."""
    return header.removeprefix("Bearer ") if header.startswith("Bearer ") else None
