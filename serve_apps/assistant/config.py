"""What a target runs: models, embedder, router. One YAML file a target, checked whole before anything starts."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


class ConfigError(Exception):
    """The file cannot be used; the message names the file, the field and what is wrong."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CapabilityName(StrEnum):
    """What a model can or may do; the words of `deskmesh.inference.v1.Capability`."""

    CHAT = "chat"
    STRUCTURED_OUTPUT = "structured_output"
    DECIDE = "decide"
    FREE_WORDING = "free_wording"


class CacheSource(_Part):
    """A folder below the model cache, which `prepare_models` fills."""

    kind: Literal["cache"]
    folder: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")


class PathSource(_Part):
    """A folder on this machine."""

    kind: Literal["path"]
    path: Path


class PackageSource(_Part):
    """A folder inside an installed Python package."""

    kind: Literal["package"]
    package: str
    folder: str = "."


Source = Annotated[CacheSource | PathSource | PackageSource, Field(discriminator="kind")]


class VllmEngineConfig(_Part):
    """vLLM in this replica; on a CPU `threads` cores compute."""

    kind: Literal["vllm"]
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "auto"
    compiled: bool = True
    # Requests the engine works on at once; the rest wait in its queue.
    max_running: int = Field(default=32, ge=1, le=1024)
    kv_cache_mebibytes: int | None = Field(default=None, ge=64)
    max_batched_tokens: int = Field(default=2048, ge=64)
    threads: int | None = Field(default=None, ge=1)


class SimulatedEngineConfig(_Part):
    """No model at all: words at a fixed pace. For load tests; the model's name must say so."""

    kind: Literal["simulated"]
    max_running: int = Field(default=256, ge=1)
    first_token_milliseconds: float = Field(default=20.0, ge=0)
    token_milliseconds: float = Field(default=10.0, ge=0)


EngineConfig = Annotated[VllmEngineConfig | SimulatedEngineConfig, Field(discriminator="kind")]


class AutoscalingBounds(_Part):
    """How many replicas, and how full each should be."""

    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=1, ge=1)
    target_running: int = Field(default=16, ge=1)
    upscale_delay_seconds: float = Field(default=1.0, ge=0)
    downscale_delay_seconds: float = Field(default=120.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "AutoscalingBounds":
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is below min_replicas")
        return self


class ModelConfig(_Part):
    """One language model: one Serve application, one deployment, one or more replicas."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=128)
    application: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    source: Source | None = None
    capabilities: tuple[CapabilityName, ...] = (CapabilityName.CHAT,)
    context_length: int = Field(ge=64)
    engine: EngineConfig
    max_queued_requests: int = Field(default=64, ge=0)
    autoscaling: AutoscalingBounds = AutoscalingBounds()

    @model_validator(mode="after")
    def _honest(self) -> "ModelConfig":
        simulated = self.engine.kind == "simulated"
        if simulated != self.name.startswith("simulated-"):
            raise ValueError('the name starts with "simulated-" exactly when the engine is simulated')
        if not simulated and self.source is None:
            raise ValueError("source is missing")
        return self


class EmbedderConfig(_Part):
    """The embedding model and how its calls are batched."""

    model: str
    source: Source
    replicas: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    max_tokens: int = Field(default=256, ge=8, le=512)
    max_batch_texts: int = Field(default=64, ge=1)
    max_wait_milliseconds: float = Field(default=2.0, ge=0)
    max_queued_texts: int = Field(default=4096, ge=1)


class RouterConfig(_Part):
    """The router."""

    replicas: int = Field(default=1, ge=1)


class TargetConfig(_Part):
    """Everything one target runs; the first model is the default."""

    router: RouterConfig = RouterConfig()
    embedder: EmbedderConfig | None = None
    models: tuple[ModelConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> "TargetConfig":
        for what in ("name", "application"):
            seen = [getattr(model, what) for model in self.models]
            if len(set(seen)) != len(seen):
                raise ValueError(f"two models share one {what}")
        return self

    @property
    def applications(self) -> tuple[str, ...]:
        """The names of the Serve applications, as Envoy knows them."""
        embedder = ("embedder",) if self.embedder else ()
        return ("router", *embedder, *(model.application for model in self.models))


def load_config(file: Path) -> TargetConfig:
    """Read and check a target. Raises ConfigError with one line a problem."""
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: is not YAML: {error}") from error
    try:
        return TargetConfig.model_validate(content)
    except ValidationError as error:
        lines = [f"{file}: {'.'.join(map(str, e['loc'])) or '(whole file)'}: {e['msg']}" for e in error.errors()]
        raise ConfigError("\n".join(lines)) from error
