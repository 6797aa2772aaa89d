"""One side of P3: an echo server over mTLS, bare or with every interceptor.

`python -m benchmarks.support.echo_server FOLDER SIDE REDIS_URL`. `FOLDER` holds `pki/`; the port that was bound is
written to `FOLDER/SIDE.port` when calls are taken.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc.aio
import redis.asyncio

from mesh.policy.limits import ORGANIZATION, PERSON, Limit
from mesh.policy.table import RateClass
from services.common import server
from services.common.buckets import ValkeyBuckets
from services.common.garbage import settle_garbage_collector
from services.common.interceptors.chain import ConcernedServer, OpenStreams
from services.common.interceptors.limits import PEOPLE, PeopleLimits
from services.common.settings import ServiceSettings
from services.common.telemetry import ServerMetrics, tracing
from services.common.tls import CertificateFiles, server_credentials
from tests.support.echo import EchoServicer, add_to_server
from tests.support.pki import TestPki

BARE = "bare"
# Leases as large as in earnest, at a rate that one server cannot reach.
LIMITS = tuple(Limit(RateClass.READ, who, 100_000, 105_000) for who in (PERSON, ORGANIZATION))
SAMPLE_RATIOS = {"full": 0.01, "traced": 1.0}


async def serve(folder: Path, side: str, redis_url: str) -> None:
    """Serve until killed."""
    identity: dict[str, Any] = dict(TestPki(folder / "pki").files("tickets"))
    settings = ServiceSettings(
        database_url="postgresql+asyncpg://unused",
        redis_url=redis_url,
        listen_address="127.0.0.1:0",
        ops_socket=folder / "unused.sock",
        jwks_socket=folder / "jwks.sock",
        otlp_endpoint=f"unix:{folder / 'traces.sock'}",
        trace_sample_ratio=SAMPLE_RATIOS.get(side, 0),
        **identity,
    )
    with tracing("bench", settings) as tracer:
        grpc_server = grpc.aio.server(options=server.server_options(settings))
        if side == BARE:
            add_to_server(EchoServicer(), grpc_server)
        else:
            limits = PeopleLimits(ValkeyBuckets(redis.asyncio.Redis.from_url(redis_url), PEOPLE), LIMITS)
            concerns = server.concerns(settings, tracer, ServerMetrics(), limits=limits)
            add_to_server(EchoServicer(), ConcernedServer(grpc_server, concerns, OpenStreams()))
        port = grpc_server.add_secure_port(settings.listen_address, server_credentials(CertificateFiles(settings)))
        await grpc_server.start()
        if side != BARE:
            settle_garbage_collector()
        (folder / f"{side}.port").write_text(str(port))
        await grpc_server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
