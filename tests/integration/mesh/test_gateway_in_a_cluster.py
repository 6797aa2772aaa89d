"""What a cluster's gateway adds to Istio's own filters, in a real Envoy: the patches of the manifests, where Istio
would put them, before a route that answers everything."""

import asyncio
import base64
import io
import re
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import yaml

from laptop.stack import envoy_program
from mesh.envoy.render import TEMPLATES
from mesh.envoy.topology import Topology
from mesh.istio.door import GRPC_WEB, ROUTER
from mesh.istio.plan import CONTRACTS, EDGE, GATEWAY_PORT
from mesh.policy.table import services
from mesh.rest.descriptors import descriptor_set
from mesh.rest.transcoder import NAME as TRANSCODER
from tests.integration.mesh.envoys import eventually, free_port
from tests.support.manifests import Resource, manifests

ME = "/deskmesh.auth.v1.AuthService/WhoAmI"
# What gRPC reads in HTTP's 400.
INTERNAL = 13
EMPTY = struct.pack(">BI", 0, 0)
MANAGER = "envoy.filters.network.http_connection_manager"
KIND = "type.googleapis.com/envoy.extensions.filters"


def patches() -> list[Resource]:
    """In the order of the filters' names, as Istio takes what was made at once."""
    filters = sorted((one for one in manifests("prod") if one["kind"] == "EnvoyFilter"), key=name_of)
    for one in filters:
        assert one["spec"]["workloadSelector"] == {"labels": {"app": EDGE}}
    return [patch for one in filters for patch in one["spec"]["configPatches"]]


def name_of(resource: Resource) -> str:
    return str(resource["metadata"]["name"])


def patched(manager: Resource) -> Resource:
    """What Istio makes of a listener's HTTP connection manager."""
    filters = manager["http_filters"]
    for patch in patches():
        at, how, value = patch["match"], patch["patch"]["operation"], patch["patch"]["value"]
        assert (at["context"], at["listener"]["portNumber"]) == ("GATEWAY", GATEWAY_PORT)
        chosen = at["listener"]["filterChain"]["filter"]
        assert chosen["name"] == MANAGER
        if patch["applyTo"] == "NETWORK_FILTER":
            assert how == "MERGE"
            manager |= value["typed_config"]
        elif how == "INSERT_FIRST":
            filters.insert(0, value)
        else:
            assert how == "INSERT_BEFORE"
            before = chosen["subFilter"]["name"]
            filters.insert([one["name"] for one in filters].index(before), value)
    return manager


def listening(port: int) -> Resource:
    answered = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "on"}}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [answered]}]
    manager = {
        "@type": f"{KIND}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": {"virtual_hosts": hosts},
        "http_filters": [{"name": ROUTER, "typed_config": {"@type": f"{KIND}.http.router.v3.Router"}}],
    }
    chain = {"filters": [{"name": MANAGER, "typed_config": patched(manager)}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"static_resources": {"listeners": [{"name": "gateway", "address": address, "filter_chains": [chain]}]}}


@pytest_asyncio.fixture(scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Any]:
    folder, port = tmp_path_factory.mktemp("gateway"), free_port()
    (folder / "contracts").write_bytes(descriptor_set(services()))
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(listening(port)).replace(CONTRACTS, str(folder / "contracts")))
    async with AsyncExitStack() as stack:
        log = stack.enter_context((folder / "log").open("wb"))
        options = ("-c", file, "--disable-hot-restart", "--concurrency", "1")
        process = await asyncio.create_subprocess_exec(envoy_program(), *options, stdout=log, stderr=log)
        stack.push_async_callback(process.wait)
        stack.callback(process.terminate)
        session = await stack.enter_async_context(aiohttp.ClientSession(f"http://127.0.0.1:{port}"))

        async def listens() -> bool:
            assert process.returncode is None, "Envoy takes its configuration"
            try:
                async with session.get("/"):
                    return True
            except aiohttp.ClientConnectionError:
                return False

        await eventually(listens, "Envoy listens")
        yield session


async def answer_to(gateway: aiohttp.ClientSession, body: bytes, kind: str, path: str = ME) -> tuple[int, bool]:
    """HTTP's or gRPC's status, and whether the request came as far as the route."""
    async with gateway.post(path, data=io.BytesIO(body), headers={"content-type": f"application/{kind}"}) as answer:
        assert answer.headers["server"] == "deskmesh"
        went_on = "on" in (answer.headers.get("grpc-message"), await answer.text())
        return int(answer.headers.get("grpc-status", answer.status)), went_on


@pytest.mark.parametrize("kind", ["grpc", "grpc-web+proto", "grpc-web-text"])
@pytest.mark.parametrize(
    "body",
    [b"", b"\0\0\0", struct.pack(">BI", 0, 100) + b"x" * 10, EMPTY + b"x", EMPTY * 2],
    ids=["nothing", "half a head", "less than it says", "more than it says", "two messages"],
)
async def test_a_message_that_is_not_whole_is_refused(gateway: aiohttp.ClientSession, kind: str, body: bytes) -> None:
    sent = base64.b64encode(body) if kind == "grpc-web-text" else body
    status, went_on = await answer_to(gateway, sent, kind)
    assert not went_on
    # As gRPC has it, or as HTTP has it.
    assert status == (INTERNAL if kind == "grpc" else 400)


@pytest.mark.parametrize("body", [EMPTY, struct.pack(">BI", 0, 3) + b"abc"])
async def test_one_whole_message_goes_on_however_it_is_wrapped(gateway: aiohttp.ClientSession, body: bytes) -> None:
    for kind in ("grpc", "grpc-web+proto", "grpc-web-text"):
        sent = base64.b64encode(body) if kind == "grpc-web-text" else body
        assert (await answer_to(gateway, sent, kind))[1]


async def test_rest_becomes_a_whole_message_and_pages_are_none(gateway: aiohttp.ClientSession) -> None:
    async with gateway.get("/api/v1/me") as answer:
        assert (answer.status, await answer.text()) == (200, "on")
    # Who answers is the transcoder: there was none to come to the route otherwise.
    assert await answer_to(gateway, b"{", "json", "/api/v1/tickets") == (400, False)
    for path in ("/", "/oauth/token", "/v1/chat/completions"):
        assert await answer_to(gateway, b"half", "json", path) == (200, True)


async def test_what_is_too_large_is_not_taken(gateway: aiohttp.ClientSession) -> None:
    size = Topology.max_request_bytes
    assert await answer_to(gateway, bytes(size + 1), "json", "/v1/chat/completions") == (413, False)
    assert (await answer_to(gateway, struct.pack(">BI", 0, size) + bytes(size), "grpc"))[1] is False


def test_it_is_what_the_laptops_edge_does() -> None:
    template = (TEMPLATES / "edge.yaml.j2").read_text()
    by_name = {one["patch"]["value"]["name"]: one for one in patches()}
    order = [name for name in re.findall(r"- name: (envoy\.filters\.http\.\w+)", template) if name in by_name]
    assert order == [GRPC_WEB, TRANSCODER, "envoy.filters.http.buffer", "envoy.filters.http.lua"]
    lua = by_name["envoy.filters.http.lua"]["patch"]["value"]["typed_config"]["default_source_code"]["inline_string"]
    assert lua == (TEMPLATES / "whole_message.lua").read_text()
