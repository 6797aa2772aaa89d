"""The deployment of the router."""

import asyncio
import logging
import math
import random
import time
from collections.abc import Sequence

from serve_apps.assistant import yaml_file
from serve_apps.assistant.board import Board, HeadStore, Report
from serve_apps.assistant.config import ModelConfig, TargetConfig
from serve_apps.assistant.control import NAMESPACE as CONTROL
from serve_apps.assistant.control import ControlBoard, Targets
from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.loopback import confine_serve
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.scaling_log import NAMESPACE, ScalingLog
from serve_apps.assistant.servicer import registration
from serve_apps.assistant.servicers.control import ControlServicer
from serve_apps.assistant.servicers.router import RouterServicer
from serve_apps.assistant.versions import split_of
from serve_apps.assistant.wishes import NAMESPACE as WISHES
from serve_apps.assistant.wishes import Wishes

logger = logging.getLogger(__name__)

READ_SECONDS = 0.25
# So long after a replica it is in Envoy's endpoints, too.
ENVOY_SECONDS = 0.75
CAPACITY = 1_000_000
REGISTRY_AGE = "Since the model registry last said which models are enabled; NaN when it never has."


class Router:
    """One replica: the newest reports, and a gRPC server."""

    def __init__(self, config: RouterConfig, models: tuple[ModelConfig, ...], settings: ReplicaSettings) -> None:
        confine_serve(settings.host)
        self._servicer = RouterServicer(config, models, random.Random())  # noqa: S311 - spreads load, no secret
        self._board = Board(HeadStore())
        self._scaling = ScalingLog(HeadStore(NAMESPACE))
        self._wishes = Wishes(HeadStore(WISHES))
        self._control = ControlBoard(HeadStore(CONTROL))
        self._server = ReplicaServer(
            settings,
            application="router",
            model="",
            capacity=CAPACITY,
            load=self._load,
            gauges={"deskmesh_router_registry_age_seconds": (REGISTRY_AGE, self._registry_age)},
        )
        self._since: dict[str, float] = {}
        self._targets: Targets | None = None
        self._reading: asyncio.Task[None] | None = None

    async def reconfigure(self, _: object) -> None:
        """Called by Serve once the replica is made: learn what there is, then listen."""
        if self._server.address:
            return
        await self._read()
        self._reading = asyncio.create_task(self._read_for_ever())
        await self._server.start(
            [registration(self._servicer), ControlServicer(self._control, self._board).registration()]
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
                await self._read()
                self._servicer.learn_decisions(await asyncio.to_thread(self._scaling.read))
            except Exception:
                # The head is away for a moment; what was known goes on being true for a while.
                logger.warning("the board could not be read", exc_info=True)

    async def _read(self) -> None:
        for model, held in self._servicer.wishes().items():
            await asyncio.to_thread(self._wishes.write, model, self._server.address, held)
        self._servicer.learn(self._reachable(await self._board.read()))
        self._servicer.learn_registry(await asyncio.to_thread(self._control.registry))
        targets = await asyncio.to_thread(self._control.targets)
        if targets is not None and targets != self._targets:
            stable = yaml_file.parse(targets.stable, TargetConfig, "target")
            candidate = yaml_file.parse(targets.candidate, TargetConfig, "target").models if targets.candidate else ()
            self._servicer.learn_config(stable.router)
            self._servicer.learn_versions(stable.models, split_of(targets, stable.models, candidate))
            self._targets = targets

    def _reachable(self, reports: Sequence[Report]) -> Sequence[Report]:
        """Those that Envoy has surely heard of; at the first look all of them."""
        now = time.monotonic()
        since = now if self._since else now - ENVOY_SECONDS
        self._since = {one.replica: self._since.get(one.replica, since) for one in reports}
        return [one for one in reports if now - self._since[one.replica] >= ENVOY_SECONDS]

    def _load(self) -> EngineLoad:
        return EngineLoad(waiting=self._servicer.waiting)

    def _registry_age(self) -> float:
        as_of = self._servicer.registry.as_of
        return time.time() - as_of if as_of else math.nan
