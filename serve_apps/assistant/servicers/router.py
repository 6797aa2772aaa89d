"""`RouterService` over the newest reports of replicas."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from deskmesh.inference.v1 import router_service_pb2, router_service_pb2_grpc
from serve_apps.assistant import mapping
from serve_apps.assistant.board import Report
from serve_apps.assistant.config import ModelConfig
from serve_apps.assistant.control import RegistryState
from serve_apps.assistant.errors import ModelAsleep, ModelOverloaded, ModelUnavailable
from serve_apps.assistant.fairness import TenantShares
from serve_apps.assistant.hedging import Hedging
from serve_apps.assistant.prefixes import PrefixMemory
from serve_apps.assistant.routing import RETRY_SECONDS, Choice, Query, ReplicaState, choose
from serve_apps.assistant.routing_config import PrefixAffinity, RouterConfig
from serve_apps.assistant.scaling_log import Decision
from serve_apps.assistant.shadows import Shadows
from serve_apps.assistant.versions import Assignment, Split
from serve_apps.assistant.waiting_room import Place, WaitingRoom
from services.common.interceptors.call import RpcContext


class RouterServicer(router_service_pb2_grpc.RouterServiceServicer):
    """Decides over what it was last told; asks nobody while a call waits."""

    def __init__(self, config: RouterConfig, models: Sequence[ModelConfig], draw: random.Random) -> None:
        self._config = config
        self._models = models
        self._draw = draw
        self._reports: Sequence[Report] = ()
        self._states: Mapping[str, Sequence[ReplicaState]] = {}
        # Requests sent to a replica since its last report: the report does not know of them yet.
        self._sent: Counter[tuple[str, int]] = Counter()
        self._prefixes = _memory_for(config)
        self._shares = TenantShares()
        self._hedging = Hedging(config.hedging)
        self._room = WaitingRoom(config.queue, self._decide, self._shares.taken)
        self._shadows = Shadows()
        # Models without a replica that were asked for since somebody was told.
        self._asleep: set[str] = set()
        self._decisions: Sequence[Decision] = ()
        self._decided = asyncio.Event()
        self._registry = RegistryState()
        self._assignment = Assignment()
        # The version of each replica.
        self._versions: Mapping[str, str] = {}

    @property
    def registry(self) -> RegistryState:
        """What the model registry last said, however long ago."""
        return self._registry

    def learn_registry(self, state: RegistryState) -> None:
        """Take note of which models are enabled."""
        self._registry = state

    def learn_config(self, config: RouterConfig) -> None:
        """Decide by another configuration from now on; requests that wait keep their places."""
        if config == self._config:
            return
        before, self._config = self._config, config
        if config.replica_policies != before.replica_policies:
            self._prefixes = _memory_for(config)
        if config.hedging != before.hedging:
            self._hedging = Hedging(config.hedging)
        self._room.configure(config.queue)

    def learn_versions(self, models: Sequence[ModelConfig], split: Split) -> None:
        """Take note of the models that serve, and of what is tried beside them and for whom."""
        self._models = models
        self._assignment.learn(split)
        self._shadows.keep(split.shadow.values())
        self._states = self._counted()

    def learn(self, reports: Sequence[Report]) -> None:
        """Take note of the replicas there are; those that drain get no more requests."""
        self._reports = [report for report in reports if report.model and not report.draining]
        current = {(report.replica, report.sequence) for report in self._reports}
        self._sent = Counter({key: count for key, count in self._sent.items() if key in current})
        self._states = self._counted()
        self._versions = {report.replica: report.version for report in self._reports}
        if self._prefixes is not None:
            self._prefixes.keep({report.replica for report in self._reports})
        self._hedging.learn(self._reports)
        self._room.wake()

    @property
    def waiting(self) -> int:
        """Requests that wait for room."""
        return len(self._room)

    def wishes(self) -> Mapping[str, int]:
        """How many requests want each model that has no replica: those of RouteQueued, which wait, and at least the one
        of Route that was sent away. To be asked once a look at the board; then forgotten."""
        asleep, self._asleep = self._asleep, set()
        return {model: max(self.waiting, 1) for model in sorted(asleep)}

    def learn_decisions(self, decisions: Sequence[Decision]) -> None:
        """Take note of the decisions on replicas, oldest first."""
        if list(decisions) != list(self._decisions):
            self._decisions = decisions
            self._decided.set()
            self._decided = asyncio.Event()

    async def Route(
        self, request: router_service_pb2.RouteRequest, context: RpcContext
    ) -> router_service_pb2.RouteResponse:
        """Choose a model and a replica."""
        query = mapping.to_query(request)
        if request.hedge_of:
            self._hedging.note(second=True)
        if self._shares.is_heavy(request.tenant):
            # Refused first when a model is nearly full, so that there is room for the others.
            query = replace(query, priority=max(query.priority, 1))
        return mapping.route_response(self._decide(query, request.tenant))

    async def RouteQueued(
        self, request: router_service_pb2.RouteQueuedRequest, context: RpcContext
    ) -> AsyncIterator[router_service_pb2.RouteQueuedResponse]:
        """Choose, and wait until there is room."""
        query = mapping.to_query(request.route)
        async with aclosing(self._room.enter(query, request.route.tenant)) as frames:
            async for frame in frames:
                match frame:
                    case Place():
                        # What customers wait for goes before what nobody is shown.
                        self._shadows.keep()
                        yield mapping.place_response(frame)
                    case Choice():
                        yield router_service_pb2.RouteQueuedResponse(routed=mapping.route_response(frame))

    async def RouteShadow(
        self, request: router_service_pb2.RouteShadowRequest, context: RpcContext
    ) -> AsyncIterator[router_service_pb2.RouteShadowResponse]:
        """Name a replica in the shadow, and say when it is over."""
        version, replica = self._in_shadow(request.model)
        self._sent_to(replica, request.model)
        with self._shadows.enter(version) as ended:
            yield router_service_pb2.RouteShadowResponse(replica=replica, version=version)
            await ended.wait()

    def _in_shadow(self, model: str) -> tuple[str, str]:
        """The version of a model in the shadow, and the idlest of its replicas that has room."""
        version = self._assignment.split.shadow.get(model)
        own = [one for one in self._states.get(model, ()) if version and self._versions.get(one.replica) == version]
        if not version or not own:
            raise ModelUnavailable(retry_after_seconds=RETRY_SECONDS)
        idlest = min(own, key=lambda one: one.load)
        if self.waiting or idlest.load >= idlest.capacity * self._config.queue.load_share:
            raise ModelOverloaded(retry_after_seconds=RETRY_SECONDS)
        return version, idlest.replica

    def _decide(self, query: Query, tenant: str) -> Choice:
        query = replace(query, disabled=self._registry.disabled)
        if self._prefixes is not None and query.prefix_blocks:
            query = replace(query, known_blocks=self._prefixes.known(query.prefix_blocks))
        serving = self._assignment.serving(self._states, self._versions, query.affinity_key, tenant)
        try:
            choice = choose(self._config, self._models, serving, query, self._draw)
        except ModelAsleep as asleep:
            self._asleep.add(asleep.model)
            raise
        self._sent_to(choice.replica, choice.model.name)
        self._shares.note(tenant, query.prompt_tokens + query.completion_tokens)
        if self._prefixes is not None:
            self._prefixes.note(choice.replica, query.prefix_blocks)
        self._hedging.note(second=False)
        return replace(
            choice,
            hedge_after_seconds=self._hedging.after(choice.model.name),
            version=self._versions.get(choice.replica, ""),
            shadow_percent=self._shadow_percent(choice.model.name),
        )

    def _shadow_percent(self, model: str) -> int:
        split = self._assignment.split
        return split.shadow_percent if model in split.shadow else 0

    async def ListModels(
        self, request: router_service_pb2.ListModelsRequest, context: RpcContext
    ) -> router_service_pb2.ListModelsResponse:
        """List models and their load."""
        return mapping.list_response(self._models, self._reports, self._registry)

    async def WatchScaling(
        self, request: router_service_pb2.WatchScalingRequest, context: RpcContext
    ) -> AsyncIterator[router_service_pb2.WatchScalingResponse]:
        """Follow the decisions on replicas."""
        told: set[Decision] = set()
        while True:
            changed, decisions = self._decided, self._decisions
            for decision in decisions:
                if decision not in told and request.model in ("", decision.model):
                    yield mapping.scaling_response(decision)
            # What is no longer kept cannot come again.
            told = set(decisions)
            await changed.wait()

    def _sent_to(self, replica: str, model: str) -> None:
        """One more at this replica, until its next report says so itself."""
        states = list(self._states[model])
        for index, (state, report) in enumerate(zip(states, self._of(model), strict=True)):
            if state.replica == replica:
                self._sent[(replica, report.sequence)] += 1
                states[index] = replace(state, load=state.load + 1)
        self._states = {**self._states, model: states}

    def _of(self, model: str) -> list[Report]:
        return [report for report in self._reports if report.model == model]

    def _counted(self) -> dict[str, list[ReplicaState]]:
        return {
            model.name: [
                ReplicaState(
                    report.replica,
                    report.running + report.waiting + self._sent[(report.replica, report.sequence)],
                    report.capacity,
                    report.degraded,
                    report.first_token_seconds,
                    report.token_seconds,
                )
                for report in self._of(model.name)
            ]
            for model in self._models
        }


def _memory_for(config: RouterConfig) -> PrefixMemory | None:
    """What remembers prompts, if a policy asks for it."""
    remembered = [one.remembered_blocks for one in config.replica_policies if isinstance(one, PrefixAffinity)]
    return PrefixMemory(max(remembered)) if remembered else None
