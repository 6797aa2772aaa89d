"""What REST has at the edge: streams of lines, pages that call from elsewhere, the page of the API, odd bodies."""

import asyncio
import base64
import json
import random
import struct
from typing import Any

import aiohttp
import pytest

from services.common.ids import new_id
from tests.security.gate import WORKSHOP, Gate

SECONDS = 10
ELSEWHERE = "https://elsewhere.example"
ARTICLE = b"---\ntitle: Returns\n---\nA parcel may be returned within thirty days.\n"
FRAMES, AT_ONCE = 200, 20


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


async def conversation(gate: Gate) -> str:
    made = await gate.rest.call("POST", "/api/v1/conversations", json={"request_id": new_id("req")})
    assert made.status == 200
    return str(made.json["conversation"]["id"])


async def test_a_stream_answers_with_a_line_for_each_message(open_gate: Gate) -> None:
    files = {"a.md": ARTICLE, "b.md": b"\xff"}
    body = {"documents": [{"path": path, "content": encoded(content)} for path, content in files.items()]}
    headers = {"authorization": f"Bearer {open_gate.rest.token}"}
    url = f"{open_gate.url}/api/v1/documents:import"
    async with open_gate.session.post(url, json=body, headers=headers) as response:
        text = await response.text()
        assert (response.status, response.content_type) == (200, "application/json")
    frames = [json.loads(line) for line in text.splitlines()]
    assert [frame["result"]["path"] for frame in frames[:-1]] == list(files)
    assert list(frames[-1]) == ["summary"]


async def test_a_stream_tells_of_what_happens_as_it_happens(open_gate: Gate) -> None:
    watched = await conversation(open_gate)
    headers = {"authorization": f"Bearer {open_gate.rest.token}"}
    url = f"{open_gate.url}/api/v1/conversations/{watched}:watch"
    async with asyncio.timeout(SECONDS), open_gate.session.get(url, headers=headers) as response:
        assert response.status == 200
        await response.content.readline()
        said = {"request_id": new_id("req"), "text": "Is anybody there?", "author": "AUTHOR_AGENT"}
        sent = await open_gate.rest.call("POST", f"/api/v1/conversations/{watched}/messages", json=said)
        assert sent.status == 200, sent.json
        while "Is anybody there?" not in (line := (await response.content.readline()).decode()):
            assert json.loads(line)


async def test_a_stream_that_is_refused_is_told_so_as_anything_else(open_gate: Gate) -> None:
    path = f"/api/v1/conversations/{new_id('cnv')}:watch"
    assert (await open_gate.rest.call("GET", path)).status == 404
    assert (await open_gate.rest.call("GET", path, token="")).refusal == (401, "TOKEN_MISSING")
    none = await open_gate.rest.call("POST", "/api/v1/documents:import", json={"documents": []})
    assert none.refusal == (400, "INVALID_FIELD")


def asked_from(origin: str, method: str) -> dict[str, str]:
    """What a browser asks before it calls."""
    return {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,x-api-key",
    }


@pytest.mark.parametrize("origin", [ELSEWHERE, WORKSHOP, "null"])
async def test_no_page_of_another_origin_calls_by_rest(open_gate: Gate, origin: str) -> None:
    """Pages call by grpc-web; REST is for programs, and for the page of the API, which is of this origin."""
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        url = f"{open_gate.url}/api/v1/me"
        async with open_gate.session.options(url, headers=asked_from(origin, method)) as response:
            assert not [name for name in response.headers if name.lower().startswith("access-control-")]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/deskmesh.auth.v1.AuthService/WhoAmI"])
async def test_only_origins_that_are_named_call_by_other_ways_and_never_with_keys(open_gate: Gate, path: str) -> None:
    url = f"{open_gate.url}{path}"
    for origin in (ELSEWHERE, "null"):
        async with open_gate.session.options(url, headers=asked_from(origin, "POST")) as response:
            assert not [name for name in response.headers if name.lower().startswith("access-control-")]
        async with open_gate.session.post(url, headers={"origin": origin}) as response:
            assert "access-control-allow-origin" not in response.headers
    async with open_gate.session.options(url, headers=asked_from(WORKSHOP, "POST")) as response:
        told = response.headers
        assert (response.status, told["access-control-allow-origin"]) == (200, WORKSHOP)
        # A key in a page is everybody's who sees the page.
        assert "x-api-key" not in told["access-control-allow-headers"]
        # No cookie proves anything here.
        assert "access-control-allow-credentials" not in told
    async with open_gate.session.post(url, headers={"origin": WORKSHOP}) as response:
        # A page of that origin can read why it was refused, and when to come again.
        assert {"grpc-status", "retry-after"} <= set(response.headers["access-control-expose-headers"].split(","))


async def test_the_page_of_the_api_comes_through_the_edge_with_all_its_parts(open_gate: Gate) -> None:
    parts = {
        "/docs/": "text/html",
        "/docs/openapi.json": "application/json",
        "/docs/start.js": "text/javascript",
        "/docs/swagger-ui-bundle.js": "text/javascript",
        "/docs/swagger-ui.css": "text/css",
    }
    for path, kind in parts.items():
        async with open_gate.session.get(f"{open_gate.url}{path}") as response:
            assert (response.status, response.content_type) == (200, kind), path
            policy = response.headers["content-security-policy"]
            assert "script-src 'self';" in policy
            assert "connect-src 'self'" in policy
            assert response.headers["x-frame-options"] == "DENY"
            text = await response.text()
        if path == "/docs/":
            assert [part for part in parts if "js" in part[-3:] and part not in text] == []
        if path == "/docs/openapi.json":
            assert "/api/v1/me" in json.loads(text)["paths"]


async def test_what_a_body_names_beyond_the_request_changes_nothing(open_gate: Gate) -> None:
    """Envoy's transcoder has no way to refuse it; see ADR 12."""
    more = {"organization_id": "org_other", "user_id": "usr_other", "roles": ["ROLE_OWNER"], "no_such_field": 1}
    said = {"request_id": new_id("req"), "subject": "Late", "description": "It is late."}
    made = await open_gate.rest.call("POST", "/api/v1/tickets", json=said | more)
    assert made.status == 200, made.json
    assert "org_other" not in json.dumps(made.json)
    assert "usr_other" not in json.dumps(made.json)


def frames(dice: random.Random) -> bytes:
    """A frame of grpc-web with anything in it, now and then cut off, or with something after it."""
    payload = dice.randbytes(dice.choice([0, 1, 30, 3000]))
    whole = struct.pack(">BI", 0, len(payload)) + payload
    return (
        whole[: dice.randrange(len(whole))] if dice.random() < 0.2 else whole + dice.randbytes(dice.choice([0, 0, 40]))
    )


async def test_frames_of_grpc_web_of_any_kind_end_in_a_refusal(open_gate: Gate) -> None:
    """The edge takes them apart, the service what is inside; neither breaks, and nobody is let in by them."""
    dice = random.Random(FRAMES)
    paths = ("/deskmesh.auth.v1.AuthService/SignIn", "/deskmesh.tickets.v1.TicketService/ListTickets")

    async def send() -> tuple[int, str]:
        content, text = frames(dice), dice.random() < 0.3
        headers = {
            "content-type": f"application/grpc-web{'-text' if text else ''}+proto",
            "x-grpc-web": "1",
            **({"authorization": f"Bearer {open_gate.rest.token}"} if dice.random() < 0.5 else {}),
        }
        body: Any = base64.b64encode(content) if text and dice.random() < 0.7 else content
        url = f"{open_gate.url}{dice.choice(paths)}"
        try:
            async with asyncio.timeout(SECONDS), open_gate.session.post(url, data=body, headers=headers) as response:
                return response.status, response.headers.get("grpc-status") or await trailer(response)
        except TimeoutError:
            return 0, f"no answer to {body[:20]!r} of {len(body)} bytes as {headers['content-type']}"

    answers: list[tuple[int, str]] = []
    while len(answers) < FRAMES:
        answers += await asyncio.gather(*(send() for _ in range(AT_ONCE)))
    # Neither INTERNAL, UNKNOWN nor anything of HTTP's fives.
    wrong = [one for one in answers if not one[0] or one[0] >= 500 or one[1] in ("2", "13")]
    assert wrong == []
    assert {"3", "16"} <= {status for _, status in answers}


async def trailer(response: aiohttp.ClientResponse) -> str:
    """The status in the last frame of an answer; "" without one."""
    content = await response.read()
    if "text" in response.content_type:
        content = base64.b64decode(content)
    _, found, rest = content.partition(b"grpc-status:")
    return rest.split(b"\r\n")[0].decode().strip() if found else ""
