"""Secrets and what people write, planted by real calls, turn up nowhere but in answers to who may see them."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from services.common.ids import new_id
from services.common.logs import JsonFormatter
from tests.integration.gateway.conftest import PASSWORD, Door
from tests.integration.gateway.rest import Rest
from tests.integration.mesh.envoys import eventually

MARK = new_id("canary")
CARD = "4111 1111 1111 1111"
E_MAIL = f"{MARK}@example.com"
WRONG = f"wrong password {MARK}"
NAME = f"{MARK} {CARD}"
LAST = "/last/of/the/canaries"


class Lines(logging.Handler):
    """Every record as the services write it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter("tested"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def listening() -> Iterator[Lines]:
    root, handler = logging.getLogger(), Lines()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


async def plant(rest: Rest, door: Door) -> list[str]:
    """Bring every kind of secret in, rightly and wrongly; returns those that were made on the way."""
    made = await door.owner.api_keys.CreateApiKey(keys.CreateApiKeyRequest(name="canaries", scopes=["members.read"]))
    signed_in = await rest.call("POST", "/api/v1/auth:signIn", json={"email": door.email, "password": PASSWORD})
    tokens = signed_in.json["tokens"]
    found = [made.secret, tokens["access_token"], tokens["refresh_token"], rest.token]
    sign_up = {
        "email": E_MAIL,
        "password": WRONG,
        "display_name": NAME,
        "new_organization": {"slug": new_id("c").replace("_", "-"), "name": NAME},
    }
    assert (await rest.call("POST", "/api/v1/auth:signUp", token="", json=sign_up)).status == 200
    as_key = {"x-api-key": made.secret}
    assert (await rest.call("GET", "/api/v1/members", token="", headers=as_key)).status == 200
    await rest.call("GET", "/api/v1/members", token="", headers={"x-api-key": f"dm_live_{MARK}"})
    await rest.call("GET", "/api/v1/me", token=f"{tokens['access_token']}{MARK}")
    await rest.call("POST", "/api/v1/auth:refresh", token="", json={"refresh_token": MARK})
    await rest.call("POST", "/api/v1/auth:refresh", token="", json={"refresh_token": tokens["refresh_token"]})
    await rest.call("POST", "/api/v1/password-resets:redeem", json={"token": MARK, "new_password": WRONG})
    wrong = {"email": E_MAIL, "password": f"other {MARK}"}
    assert (await rest.call("POST", "/api/v1/auth:signIn", json=wrong)).status == 401
    # What the transcoder cannot read it would quote.
    for body in (f'{{"password": "{WRONG}" {MARK}', f"{MARK}", f'{{"password": {{"{MARK}": 1}}}}'):
        refused = await rest.call("POST", "/api/v1/auth:signIn", token="", data=body.encode())
        assert refused.status == 400
    await rest.call("GET", f"/api/v1/members?no_such={MARK}&page_size={MARK}")
    await rest.call("GET", "/api/v1/me", headers={"x-large": MARK * 2000})
    return found


async def admin(door: Door, verb: str, path: str) -> str:
    """What Envoy's administration answers."""
    connector = aiohttp.UnixConnector(str(door.folder / "run" / "edge-envoy.sock"))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(verb, f"http://envoy{path}") as response,
    ):
        return await response.text()


async def asked(sockets: list[Path]) -> AsyncIterator[str]:
    for socket in sockets:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
            session.get("http://ops/metrics") as response,
        ):
            assert response.status == 200
            yield await response.text()


async def test_nothing_planted_is_found_in_logs_metrics_and_settings(rest: Rest, door: Door) -> None:
    log = door.folder / "edge.log"
    with listening() as heard:
        secrets = [*await plant(rest, door), MARK, PASSWORD, CARD]
        await rest.call("GET", LAST)

    async def written() -> bool:
        # Envoy writes what it has when its logs are opened anew.
        await admin(door, "POST", "/reopen_logs")
        return LAST in log.read_text()

    await eventually(written, "the edge has written its log")
    run = door.folder / "run"
    places = {
        "the edge's log": log.read_text(),
        "the edge's settings": await admin(door, "GET", "/config_dump"),
        "the edge's metrics": await admin(door, "GET", "/stats"),
        "the logs of auth and the gateway": "\n".join(heard.lines),
        "their metrics": "".join([one async for one in asked([run / "auth.ops.sock", run / "gateway.ops.sock"])]),
    }
    assert [name for name, text in places.items() if not text] == []
    access = [json.loads(line) for line in places["the edge's log"].splitlines() if line.startswith("{")]
    assert {"grpc_json_transcode_failure", "via_upstream"} <= {line.get("details") for line in access}
    found = [(name, secret[:12]) for name, text in places.items() for secret in secrets if secret in text]
    assert found == []


@pytest.mark.parametrize("path", ["/api/v1/auth:signIn", "/api/v1/auth:signUp"])
async def test_errors_do_not_repeat_a_password(rest: Rest, path: str) -> None:
    refused = await rest.call("POST", path, token="", json={"email": "nobody", "password": WRONG})
    assert refused.status >= 400
    assert MARK not in json.dumps(refused.json)
