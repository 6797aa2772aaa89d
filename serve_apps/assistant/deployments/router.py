"""The deployment of the router: what it knows of the replicas, and the service that decides with it."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Sequence

from deskmesh.inference.v1 import router_service_pb2, router_service_pb2_grpc
from serve_apps.assistant import mapping
from serve_apps.assistant.board import Board, HeadStore, Report
from serve_apps.assistant.config import ModelConfig
from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.routing import ReplicaState, choose
from services.common.interceptors.call import RpcContext
from services.common.server import ServicerRegistration

logger = logging.getLogger(__name__)

READ_SECONDS = 0.25
CAPACITY = 1_000_000


class RouterServicer(router_service_pb2_grpc.RouterServiceServicer):
    """`RouterService` over the newest reports."""

    def __init__(self, models: Sequence[ModelConfig], draw: random.Random) -> None:
        self._models = models
        self._draw = draw
        self._reports: Sequence[Report] = ()
        # Requests sent to a replica since its last report: the report does not know of them yet.
        self._sent: Counter[tuple[str, int]] = Counter()

    def learn(self, reports: Sequence[Report]) -> None:
        """Take note of the replicas there are; those that drain get no more requests."""
        self._reports = [report for report in reports if not report.draining]
        current = {(report.replica, report.sequence) for report in self._reports}
        self._sent = Counter({key: count for key, count in self._sent.items() if key in current})

    async def Route(
        self, request: router_service_pb2.RouteRequest, context: RpcContext
    ) -> router_service_pb2.RouteResponse:
        """Choose a model and a replica."""
        choice = choose(self._models, self._states(), mapping.to_query(request), self._draw)
        for report in self._reports:
            if report.replica == choice.replica:
                self._sent[(report.replica, report.sequence)] += 1
        return mapping.route_response(choice)

    async def ListModels(
        self, request: router_service_pb2.ListModelsRequest, context: RpcContext
    ) -> router_service_pb2.ListModelsResponse:
        """List models and their load."""
        return mapping.list_response(self._models, self._reports)

    def _states(self) -> dict[str, list[ReplicaState]]:
        states: dict[str, list[ReplicaState]] = {}
        for report in self._reports:
            load = report.running + report.waiting + self._sent[(report.replica, report.sequence)]
            states.setdefault(report.model, []).append(ReplicaState(report.replica, load, report.capacity))
        return states


class Router:
    """One replica: the newest reports, and a gRPC server."""

    def __init__(self, models: tuple[ModelConfig, ...], settings: ReplicaSettings) -> None:
        self._servicer = RouterServicer(models, random.Random())  # noqa: S311 - spreads load, guards nothing
        self._board = Board(HeadStore())
        self._server = ReplicaServer(
            settings, application="router", model="", capacity=CAPACITY, load=lambda: EngineLoad()
        )
        self._reading: asyncio.Task[None] | None = None

    async def reconfigure(self, _: object) -> None:
        """Called by Serve once the replica is made: learn what there is, then listen."""
        if self._server.address:
            return
        self._servicer.learn(await self._board.read())
        self._reading = asyncio.create_task(self._read_for_ever())
        await self._server.start(
            [ServicerRegistration(router_service_pb2_grpc.add_RouterServiceServicer_to_server, self._servicer)]
        )

    async def check_health(self) -> None:
        """Raises when the board is no longer read."""
        if self._reading is None or self._reading.done():
            raise RuntimeError("the router no longer learns of replicas")

    async def __del__(self) -> None:
        """Called by Serve when the replica is to go."""
        await self._server.drain()
        if self._reading is not None:
            self._reading.cancel()

    async def _read_for_ever(self) -> None:
        while True:
            await asyncio.sleep(READ_SECONDS)
            try:
                self._servicer.learn(await self._board.read())
            except Exception:
                # The head is away for a moment; what was known goes on being true for a while.
                logger.warning("the board could not be read", exc_info=True)
