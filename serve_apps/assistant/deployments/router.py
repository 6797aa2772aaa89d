"""The deployment of the router."""

import asyncio
import logging
import math
import random
import time

from serve_apps.assistant.board import Board, HeadStore
from serve_apps.assistant.config import ModelConfig
from serve_apps.assistant.control import NAMESPACE as CONTROL
from serve_apps.assistant.control import ControlBoard
from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.loopback import confine_serve
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.scaling_log import NAMESPACE, ScalingLog
from serve_apps.assistant.servicer import registration
from serve_apps.assistant.servicers.control import ControlServicer
from serve_apps.assistant.servicers.router import RouterServicer

logger = logging.getLogger(__name__)

READ_SECONDS = 0.25
CAPACITY = 1_000_000
REGISTRY_AGE = "Since the model registry last said which models are enabled; NaN when it never has."


class Router:
    """One replica: the newest reports, and a gRPC server."""

    def __init__(self, config: RouterConfig, models: tuple[ModelConfig, ...], settings: ReplicaSettings) -> None:
        confine_serve(settings.host)
        self._servicer = RouterServicer(config, models, random.Random())  # noqa: S311 - spreads load, no secret
        self._board = Board(HeadStore())
        self._scaling = ScalingLog(HeadStore(NAMESPACE))
        self._control = ControlBoard(HeadStore(CONTROL))
        self._server = ReplicaServer(
            settings,
            application="router",
            model="",
            capacity=CAPACITY,
            load=self._load,
            gauges={"deskmesh_router_registry_age_seconds": (REGISTRY_AGE, self._registry_age)},
        )
        self._reading: asyncio.Task[None] | None = None

    async def reconfigure(self, _: object) -> None:
        """Called by Serve once the replica is made: learn what there is, then listen."""
        if self._server.address:
            return
        await self._read()
        self._reading = asyncio.create_task(self._read_for_ever())
        await self._server.start([registration(self._servicer), ControlServicer(self._control).registration()])

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
                await self._read()
                self._servicer.learn_decisions(await asyncio.to_thread(self._scaling.read))
            except Exception:
                # The head is away for a moment; what was known goes on being true for a while.
                logger.warning("the board could not be read", exc_info=True)

    async def _read(self) -> None:
        self._servicer.learn(await self._board.read())
        self._servicer.learn_registry(await asyncio.to_thread(self._control.registry))

    def _load(self) -> EngineLoad:
        return EngineLoad(waiting=self._servicer.waiting)

    def _registry_age(self) -> float:
        as_of = self._servicer.registry.as_of
        return time.time() - as_of if as_of else math.nan
