"""P5's simulated model: one answer, at once, by OpenAI's HTTP for the one proxy and by gRPC for the other.

`python -m benchmarks.support.simulated_model FOLDER`. `FOLDER` holds `pki/`; the ports that were bound are written to
`FOLDER/model.ports` as "HTTP inference usage". The router and the ledger are simulated as well and say yes at once, for
what is compared is proxies.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import grpc.aio
from aiohttp import web

from deskmesh.inference.v1 import (
    chat_pb2,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from deskmesh.usage.v1 import reservation_service_pb2, reservation_service_pb2_grpc
from services.common.settings import ServiceSettings
from services.common.tls import CertificateFiles, server_credentials
from tests.support.pki import TestPki

MODEL = "simulated"
# What the router grants by default while a model is not busy.
LEASE_SECONDS = 5
WORDS = ("You", " have", " thirty", " days.")
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "".join(WORDS)},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 10, "completion_tokens": len(WORDS), "total_tokens": 10 + len(WORDS)},
}


class Model(inference_service_pb2_grpc.InferenceServiceServicer):
    """Says the same to everybody; in as many frames as it has words."""

    async def Chat(self, _request: Any, _context: Any) -> Any:
        response, started = inference_service_pb2.ChatResponse, inference_service_pb2.ChatStarted(model=MODEL)
        yield response(started=started)
        for word in WORDS:
            yield response(delta=inference_service_pb2.ChatDelta(text=word, tokens=1))
        used = chat_pb2.Usage(prompt_tokens=10, completion_tokens=len(WORDS))
        yield response(
            finished=inference_service_pb2.ChatFinished(reason=inference_service_pb2.FINISH_REASON_STOP, usage=used)
        )


class Router(router_service_pb2_grpc.RouterServiceServicer):
    """Sends everybody to the same place, for as long as the router does with a model that is not busy."""

    async def RouteQueued(self, _request: Any, _context: Any) -> Any:
        routed = router_service_pb2.RouteResponse(model=router_service_pb2.ModelProfile(name=MODEL))
        routed.lease.FromSeconds(LEASE_SECONDS)
        yield router_service_pb2.RouteQueuedResponse(routed=routed)


class Reservations(reservation_service_pb2_grpc.ReservationServiceServicer):
    """Grants everything, with a limit far away, so that what runs is compared with it."""

    async def Reserve(self, _request: Any, _context: Any) -> reservation_service_pb2.ReserveResponse:
        price = reservation_service_pb2.ModelPrice(prompt_micros_per_million=1, completion_micros_per_million=1)
        return reservation_service_pb2.ReserveResponse(granted_micros=1_000_000, limited=True, price=price)

    async def SettleReservation(
        self, _request: Any, _context: Any
    ) -> reservation_service_pb2.SettleReservationResponse:
        return reservation_service_pb2.SettleReservationResponse()


async def serve(folder: Path) -> None:
    """Serve until killed."""
    inference, usage = grpc.aio.server(), grpc.aio.server()
    # The methods that nobody calls are missing.
    inference_service_pb2_grpc.add_InferenceServiceServicer_to_server(Model(), inference)  # type: ignore[abstract]
    router_service_pb2_grpc.add_RouterServiceServicer_to_server(Router(), inference)  # type: ignore[abstract]
    reservation_service_pb2_grpc.add_ReservationServiceServicer_to_server(Reservations(), usage)  # type: ignore[abstract]
    ports = [await _http()]
    for server, workload in ((inference, "inference"), (usage, "usage")):
        identity: dict[str, Any] = dict(TestPki(folder / "pki").files(workload))
        files = CertificateFiles(
            ServiceSettings(
                database_url="unused",
                redis_url="unused",
                listen_address="",
                ops_socket=folder / "unused.sock",
                jwks_socket=folder / "jwks.sock",
                **identity,
            )
        )
        ports.append(server.add_secure_port("127.0.0.1:0", server_credentials(files)))
        await server.start()
    (folder / "model.ports").write_text(" ".join(map(str, ports)))
    await inference.wait_for_termination()


async def _http() -> int:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(ANSWER)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return int(runner.addresses[0][1])


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
