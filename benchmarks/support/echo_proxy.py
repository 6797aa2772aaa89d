"""Envoy in front of echo servers: mutual TLS on both sides, one listener a server."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from laptop.stack import envoy_program
from tests.support.pki import TestPki

TYPE = "type.googleapis.com/envoy.extensions"
START_SECONDS = 20.0


@asynccontextmanager
async def running_proxy(
    folder: Path, pki: TestPki, upstreams: Mapping[str, int]
) -> AsyncIterator[tuple[int, Mapping[str, int]]]:
    """Proxy to each upstream's port; yields Envoy's process ID and the listeners' ports, by the upstreams' names."""
    config = folder / "envoy.json"
    config.write_text(json.dumps(_config(folder, pki, upstreams)))
    process = await asyncio.create_subprocess_exec(
        envoy_program(),
        *("--config-path", str(config), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "error"),
    )
    try:
        yield process.pid, await _ports(folder / "envoy.sock", upstreams)
    finally:
        process.terminate()
        await process.wait()


async def _ports(admin: Path, upstreams: Mapping[str, int]) -> Mapping[str, int]:
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(admin))) as session:
        for _ in range(int(START_SECONDS / 0.1)):
            await asyncio.sleep(0.1)
            try:
                async with session.get("http://envoy/listeners?format=json") as response:
                    statuses = (await response.json(content_type=None)).get("listener_statuses", [])
            except aiohttp.ClientConnectionError:
                continue
            ports = {one["name"]: one["local_address"]["socket_address"]["port_value"] for one in statuses}
            if ports.keys() == upstreams.keys():
                return ports
    raise TimeoutError("Envoy did not start")


def _config(folder: Path, pki: TestPki, upstreams: Mapping[str, int]) -> dict[str, Any]:
    return {
        "admin": {"address": {"pipe": {"path": str(folder / "envoy.sock")}}},
        "static_resources": {
            "listeners": [_listener(name, pki) for name in upstreams],
            "clusters": [_cluster(name, port, pki) for name, port in upstreams.items()],
        },
    }


def _identity(pki: TestPki) -> dict[str, Any]:
    files = pki.files("edge")
    return {
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(files["tls_cert_file"])},
                "private_key": {"filename": str(files["tls_key_file"])},
            }
        ],
        "validation_context": {"trusted_ca": {"filename": str(files["tls_ca_file"])}},
        "alpn_protocols": ["h2"],
    }


def _listener(name: str, pki: TestPki) -> dict[str, Any]:
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "HTTP2",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "30s"}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router"},
            }
        ],
    }
    tls = {
        "@type": f"{TYPE}.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _identity(pki),
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [
            {
                "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
                "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
            }
        ],
    }


def _cluster(name: str, port: int, pki: TestPki) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    tls = {
        "@type": f"{TYPE}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": "tickets",
        "common_tls_context": _identity(pki),
    }
    http2 = {
        "@type": f"{TYPE}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": name,
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
