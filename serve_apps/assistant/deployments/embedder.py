"""The deployment of the embedding model."""

from pathlib import Path

from serve_apps.assistant.config import EmbedderConfig
from serve_apps.assistant.embedding import Batcher
from serve_apps.assistant.loopback import confine_serve
from serve_apps.assistant.replica import ReplicaServer, ReplicaSettings
from serve_apps.assistant.servicer import EmbeddingServicer, registration


class Embedder:
    """One replica: the model, a batcher, and a gRPC server."""

    def __init__(self, config: EmbedderConfig, folder: Path, settings: ReplicaSettings) -> None:
        confine_serve(settings.host)
        # Imported in the replica: whoever deploys it needs no torch.
        from serve_apps.assistant.engines.minilm import MiniLm

        encoder = MiniLm(folder, max_tokens=config.max_tokens, threads=config.threads)
        self._batcher = Batcher(
            encoder,
            max_batch_texts=config.max_batch_texts,
            wait_seconds=config.max_wait_milliseconds / 1000,
            max_queued_texts=config.max_queued_texts,
        )
        self._servicer = EmbeddingServicer(self._batcher, model=config.model, dimension=encoder.dimension)
        self._server = ReplicaServer(
            settings,
            application="embedder",
            model=config.model,
            capacity=config.max_queued_texts,
            load=self._batcher.load,
        )

    async def reconfigure(self, _: object) -> None:
        """Called by Serve once the replica is made: begin to take batches, then listen."""
        if self._server.address:
            return
        self._batcher.start()
        await self._batcher.embed(["The first text makes torch allocate what it needs."])
        await self._server.start([registration(self._servicer)])

    async def check_health(self) -> None:
        """Raises when batches are no longer taken."""
        self._batcher.check()

    async def __del__(self) -> None:
        """Called by Serve when the replica is to go."""
        await self._server.drain()
        await self._batcher.stop()
