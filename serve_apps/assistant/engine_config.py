"""The engines that a model can have, and their settings."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from serve_apps.assistant.part import Part


class KvTransfer(Part):
    """Prefill and decode on different replicas: the KV cache goes from one to the other."""

    connector: Literal["NixlConnector", "P2pNcclConnector", "LMCacheConnectorV1"] = "NixlConnector"
    role: Literal["kv_producer", "kv_consumer", "kv_both"] = "kv_both"


class VllmEngineConfig(Part):
    """vLLM in this replica; on a CPU `threads` cores compute, else `tensor_parallel` × `pipeline_parallel` GPUs."""

    kind: Literal["vllm"]
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    # How the weights are quantized; none: as their own configuration says.
    quantization: Literal["fp8", "awq", "gptq", "compressed-tensors"] | None = None
    compiled: bool = True
    # Requests the engine works on at once; the rest wait in its queue.
    max_running: int = Field(default=32, ge=1, le=1024)
    # Size of the KV cache; none: what `gpu_memory_share` leaves.
    kv_cache_mebibytes: int | None = Field(default=None, ge=64)
    gpu_memory_share: float = Field(default=0.9, gt=0, le=0.98)
    max_batched_tokens: int = Field(default=2048, ge=64)
    # Cores that compute on a CPU; none: GPUs do.
    threads: int | None = Field(default=None, ge=1)
    tensor_parallel: int = Field(default=1, ge=1, le=64)
    pipeline_parallel: int = Field(default=1, ge=1, le=64)
    # LoRA adapters that one batch can mix; 0 turns them off, and with them what they cost.
    max_adapters: int = Field(default=0, ge=0, le=64)
    max_adapter_rank: Literal[8, 16, 32, 64, 128] = 16
    kv_transfer: KvTransfer | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.threads and self.tensor_parallel * self.pipeline_parallel > 1:
            raise ValueError("threads is for a CPU, where tensor_parallel and pipeline_parallel are 1")
        if self.threads and self.kv_transfer:
            raise ValueError("kv_transfer needs GPUs")
        if self.threads and self.kv_cache_mebibytes is None:
            raise ValueError("kv_cache_mebibytes is missing: on a CPU vLLM would take what memory it sees")
        return self

    @property
    def gpus(self) -> int:
        """GPUs that one replica takes."""
        return 0 if self.threads else self.tensor_parallel * self.pipeline_parallel


class RemoteEngineConfig(Part):
    """An OpenAI-compatible endpoint instead of an engine: how patient to be with it."""

    kind: Literal["remote"]
    max_running: int = Field(default=64, ge=1, le=4096)
    connect_seconds: float = Field(default=3.0, gt=0)
    # Longest silence: until the first token, and between two.
    silence_seconds: float = Field(default=30.0, gt=0)
    # Retries in any minute, as a share of the requests of that minute; a few are always granted.
    retry_share: float = Field(default=0.1, ge=0, le=1)
    # Failures in a row after which the endpoint is left alone for a while.
    failures_to_open: int = Field(default=5, ge=1)
    open_seconds: float = Field(default=15.0, gt=0)


class SimulatedEngineConfig(Part):
    """No model at all: words at a fixed pace. For load tests; the model's name must say so."""

    kind: Literal["simulated"]
    max_running: int = Field(default=256, ge=1)
    first_token_milliseconds: float = Field(default=20.0, ge=0)
    token_milliseconds: float = Field(default=10.0, ge=0)
    # Tokens of prompts computed a second, one prompt after the other; none: prompts cost nothing.
    prefill_tokens_per_second: float | None = Field(default=None, gt=0)
    # Tokens of prompts whose beginning is kept, so that it need not be computed again.
    cache_tokens: int = Field(default=0, ge=0)


EngineConfig = Annotated[VllmEngineConfig | RemoteEngineConfig | SimulatedEngineConfig, Field(discriminator="kind")]
