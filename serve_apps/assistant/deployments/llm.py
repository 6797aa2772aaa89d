"""The deployment of a language model."""

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from serve_apps.assistant import autoscaling
from serve_apps.assistant.config import (
    AdapterConfig,
    CacheSource,
    EndpointSource,
    HubSource,
    ModelConfig,
    PackageSource,
    PathSource,
)
from serve_apps.assistant.engine_config import RemoteEngineConfig, SimulatedEngineConfig, VllmEngineConfig
from serve_apps.assistant.engines.base import Engine
from serve_apps.assistant.engines.remote import RemoteEngine
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.engines.vllm import VllmEngine
from serve_apps.assistant.loopback import confine_serve
from serve_apps.assistant.models import find_weights, locate
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.servicer import InferenceServicer, registration
from serve_apps.assistant.versions import version_of

logger = logging.getLogger(__name__)

QUARANTINED = "Prompts of the last hour that ended two engines and are refused."


def build_engine(model: ModelConfig) -> Engine:
    """The engine that the configuration names, not started. Raises FileNotFoundError when its files are not there."""
    match model.engine, model.source:
        case VllmEngineConfig() as config, (CacheSource() | PathSource() | PackageSource() | HubSource()) as source:
            weights = find_weights(source)
            return VllmEngine(weights.name, config, context_length=model.context_length, revision=weights.revision)
        case RemoteEngineConfig() as config, EndpointSource() as source:
            return RemoteEngine(source, config)
        case SimulatedEngineConfig() as config, _:
            return SimulatedEngine(
                context_length=model.context_length,
                max_running=config.max_running,
                first_token_seconds=config.first_token_milliseconds / 1000,
                token_seconds=config.token_milliseconds / 1000,
                prefill_rate=config.prefill_tokens_per_second,
                cache_tokens=config.cache_tokens,
            )
    raise ValueError(f"model {model.name}: its engine and source do not fit together")


class LanguageModel:
    """One replica: an engine, and a gRPC server that streams its tokens. Ray Serve makes, watches and replaces it."""

    def __init__(self, model: ModelConfig, settings: ReplicaSettings) -> None:
        confine_serve(settings.host)
        self._engine = build_engine(model)
        capacity = model.engine.max_running + model.max_queued_requests
        self._servicer = InferenceServicer(
            self._engine, model=model.name, context_length=model.context_length, capacity=capacity
        )
        self._server = ReplicaServer(
            settings,
            application=model.application,
            model=model.name,
            capacity=capacity,
            load=self._engine.load,
            pace=self._servicer.pace,
            gauges={"deskmesh_engine_quarantined_prompts": (QUARANTINED, lambda: self._servicer.quarantine.refused)},
            version=version_of(model),
        )

    async def reconfigure(self, changeable: Mapping[str, Any]) -> None:
        """Called by Serve once the replica is made, which is when its loop runs: load the model, then listen.

        And again, in a running replica, when what can change without a restart has changed: the adapters.
        """
        adapters = TypeAdapter(tuple[AdapterConfig, ...]).validate_python(changeable.get("adapters", ()))
        folders = {one.name: locate(one.source, needed="adapter_config.json") for one in adapters}
        started = bool(self._server.address)
        if not started:
            await self._engine.start()
        if folders or started:
            refused = await self._engine.set_adapters(folders)
            for name, problem in refused.items():
                logger.error("adapter refused", extra={"adapter": name, "problem": problem})
            self._server.note_adapters(sorted(folders.keys() - refused.keys()), refused)
        if started:
            return
        await self._servicer.quarantine.start()
        await self._server.start([registration(self._servicer)])
        self._servicer.replica = self._server.address

    async def check_health(self) -> None:
        """Raises when the engine is dead; Serve then replaces the replica."""
        await self._engine.check_health()

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaling policy decides by; Serve would call a plain function in a thread."""
        load = self._engine.load()
        return autoscaling.metrics(load.running, load.waiting, load.kv_cache_usage)

    async def __del__(self) -> None:
        """Called by Serve when the replica is to go: drain, then end the engine's processes."""
        await self._server.drain()
        self._servicer.quarantine.stop()
        await self._engine.stop()
