"""A program that knows HTTP and JSON only."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl


@dataclass(frozen=True)
class Reply:
    """What came back, as a REST client reads it."""

    status: int
    headers: Mapping[str, str]
    json: Any

    @property
    def reason(self) -> str:
        """The reason in the details of an error."""
        return str(self.json["details"][0]["reason"])

    @property
    def refusal(self) -> tuple[int, str]:
        assert self.headers["content-type"] == "application/json"
        return self.status, self.reason


class Rest:
    """Calls over one session, with a token unless told otherwise."""

    def __init__(self, port: int, session: aiohttp.ClientSession) -> None:
        self._port = port
        self._session = session
        self.token = ""

    async def call(self, verb: str, path: str, *, token: str | None = None, data: Any = None, **more: Any) -> Reply:
        """A path goes out as it stands, neither encoded nor normalized."""
        bearer = self.token if token is None else token
        headers = {**({"authorization": f"Bearer {bearer}"} if bearer else {}), **more.pop("headers", {})}
        url = yarl.URL(f"https://localhost:{self._port}{path}", encoded=True)
        if data is not None:
            more["data"] = io.BytesIO(data)
        async with self._session.request(verb, url, headers=headers, **more) as response:
            text = await response.text()
            found = json.loads(text) if response.headers.get("content-type") == "application/json" else text
            return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, found)
