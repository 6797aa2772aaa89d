"""The deployment of the embedding model."""

from collections.abc import Sequence
from pathlib import Path

from serve_apps.assistant.config import EmbedderConfig
from serve_apps.assistant.embedding import Batcher, EmbeddingModel
from serve_apps.assistant.engines.base import EngineLoad
from serve_apps.assistant.loopback import confine_serve
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.servicer import EmbeddingServicer, registration


class Embedder:
    """One replica: the models, a batcher for each, and a gRPC server."""

    def __init__(self, config: EmbedderConfig, folders: Sequence[Path], settings: ReplicaSettings) -> None:
        confine_serve(settings.host)
        # Imported in the replica: whoever deploys it needs no torch.
        from serve_apps.assistant.engines.bert import Bert

        self._models = []
        for one, folder in zip((config, *config.further), folders, strict=True):
            encoder = Bert(folder, pooling=one.pooling, max_tokens=one.max_tokens, threads=config.threads)
            batcher = Batcher(
                encoder,
                max_batch_texts=config.max_batch_texts,
                wait_seconds=config.max_wait_milliseconds / 1000,
                max_queued_texts=config.max_queued_texts,
            )
            self._models.append(EmbeddingModel(one.model, encoder.dimension, batcher, one.question_prefix))
        self._servicer = EmbeddingServicer(self._models)
        self._server = ReplicaServer(
            settings,
            application="embedder",
            model=config.model,
            capacity=config.max_queued_texts,
            load=self._load,
        )

    async def reconfigure(self, _: object) -> None:
        """Called by Serve once the replica is made: begin to take batches, then listen."""
        if self._server.address:
            return
        for model in self._models:
            model.batcher.start()
            await model.batcher.embed(["The first text makes torch allocate what it needs."])
        await self._server.start([registration(self._servicer)])

    async def check_health(self) -> None:
        """Raises when batches are no longer taken."""
        for model in self._models:
            model.batcher.check()

    async def __del__(self) -> None:
        """Called by Serve when the replica is to go."""
        await self._server.drain()
        for model in self._models:
            await model.batcher.stop()

    def _load(self) -> EngineLoad:
        loads = [model.batcher.load() for model in self._models]
        return EngineLoad(sum(load.running for load in loads), sum(load.waiting for load in loads))
