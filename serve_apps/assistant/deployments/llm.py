"""The deployment of a language model."""

from pathlib import Path

from serve_apps.assistant import autoscaling
from serve_apps.assistant.config import ModelConfig, SimulatedEngineConfig, VllmEngineConfig
from serve_apps.assistant.engines.base import Engine
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.engines.vllm import VllmEngine
from serve_apps.assistant.loopback import confine_serve
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.servicer import InferenceServicer, registration


def build_engine(model: ModelConfig, folder: Path | None) -> Engine:
    """The engine that the configuration names, not started."""
    match model.engine:
        case VllmEngineConfig() as config if folder is not None:
            return VllmEngine(folder, config, context_length=model.context_length)
        case SimulatedEngineConfig() as config:
            return SimulatedEngine(
                context_length=model.context_length,
                max_running=config.max_running,
                first_token_seconds=config.first_token_milliseconds / 1000,
                token_seconds=config.token_milliseconds / 1000,
            )
    raise ValueError(f"model {model.name}: this engine needs a folder")


class LanguageModel:
    """One replica: an engine, and a gRPC server that streams its tokens. Ray Serve makes, watches and replaces it."""

    def __init__(self, model: ModelConfig, folder: Path | None, settings: ReplicaSettings) -> None:
        confine_serve(settings.host)
        self._engine = build_engine(model, folder)
        capacity = model.engine.max_running + model.max_queued_requests
        self._servicer = InferenceServicer(
            self._engine, model=model.name, context_length=model.context_length, capacity=capacity
        )
        self._server = ReplicaServer(
            settings, application=model.application, model=model.name, capacity=capacity, load=self._engine.load
        )

    async def reconfigure(self, _: object) -> None:
        """Called by Serve once the replica is made, which is when its loop runs: load the model, then listen."""
        if self._server.address:
            return
        await self._engine.start()
        await self._server.start([registration(self._servicer)])
        self._servicer.replica = self._server.address

    async def check_health(self) -> None:
        """Raises when the engine is dead; Serve then replaces the replica."""
        await self._engine.check_health()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What the autoscaling policy decides by."""
        load = self._engine.load()
        return autoscaling.metrics(load.running, load.waiting, load.kv_cache_usage)

    async def __del__(self) -> None:
        """Called by Serve when the replica is to go: drain, then end the engine's processes."""
        await self._server.drain()
        await self._engine.stop()
