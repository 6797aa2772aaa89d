"""Being let in by somebody in a browser, by the code shown here (RFC 8628)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deskmesh_cli.connection import NoSignIn

CLIENT = "deskmesh-cli"
SCOPE = "deskmesh"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
SLOWER_SECONDS = 5.0

# Posts a form to a path of the edge; returns the status and the decoded JSON.
Post = Callable[[str, Mapping[str, str]], Awaitable[tuple[int, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the person needs: a page, the code to enter there, and the page with the code in it."""

    page: str
    code: str
    whole: str


@dataclass(frozen=True, slots=True)
class Granted:
    """What came back."""

    access_token: str
    lifetime_seconds: float
    refresh_token: str


_ENDINGS = {
    "access_denied": "Somebody said no in the browser.",
    "expired_token": "Nobody answered in time; start again.",
}


async def let_in(
    post: Post, show: Callable[[Shown], None], pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> Granted:
    """Show a code and wait until somebody has let this program in. Raises NoSignIn."""
    status, codes = await post("/oauth/device_authorization", {"client_id": CLIENT, "scope": SCOPE})
    if status != 200:
        raise NoSignIn(_words(codes))
    show(Shown(codes["verification_uri"], codes["user_code"], codes["verification_uri_complete"]))
    interval = float(codes["interval"])
    while True:
        await pause(interval)
        form = {"grant_type": GRANT, "client_id": CLIENT, "device_code": codes["device_code"]}
        status, answer = await post("/oauth/token", form)
        if status == 200:
            return Granted(answer["access_token"], float(answer["expires_in"]), answer["refresh_token"])
        match answer.get("error"):
            case "authorization_pending":
                pass
            case "slow_down" | "temporarily_unavailable":
                interval += SLOWER_SECONDS
            case _:
                raise NoSignIn(_words(answer))


def _words(answer: Mapping[str, Any]) -> str:
    error = str(answer.get("error", "an answer that makes no sense"))
    return _ENDINGS.get(error) or f"Signing in failed: {answer.get('error_description') or error}"
