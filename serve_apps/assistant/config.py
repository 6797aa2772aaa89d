"""What a target runs: models, embedder, router. One YAML file a target, checked whole before anything starts.

docs/models.md describes every field; a test holds that page against these classes.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, HttpUrl, model_validator

from serve_apps.assistant import yaml_file
from serve_apps.assistant.engine_config import EngineConfig, RemoteEngineConfig, VllmEngineConfig
from serve_apps.assistant.part import Part
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.yaml_file import ConfigError

__all__ = ["ConfigError", "ModelConfig", "TargetConfig", "load_config"]

NAME = r"^[a-z0-9][a-z0-9._-]*$"


class CapabilityName(StrEnum):
    """What a model can or may do; the words of `deskmesh.inference.v1.Capability`."""

    CHAT = "chat"
    STRUCTURED_OUTPUT = "structured_output"
    DECIDE = "decide"
    FREE_WORDING = "free_wording"
    TOOLS = "tools"
    SCORE = "score"


class CacheSource(Part):
    """A folder below the model cache, which `prepare_models` fills."""

    kind: Literal["cache"]
    folder: str = Field(pattern=NAME)


class PathSource(Part):
    """A folder on the machines that run the replicas."""

    kind: Literal["path"]
    path: Path


class PackageSource(Part):
    """A folder inside an installed Python package."""

    kind: Literal["package"]
    package: str = Field(min_length=1)
    folder: str = "."


class HubSource(Part):
    """A repository of a model hub, downloaded by the engine; pinned, so that every replica has the same weights."""

    kind: Literal["hub"]
    repository: str = Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
    # A commit. A branch or tag may move, and two replicas would differ.
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")


class EndpointSource(Part):
    """A model behind somebody's OpenAI-compatible HTTP endpoint."""

    kind: Literal["endpoint"]
    # As in `https://models.example.com/v1`; what follows is `/chat/completions`.
    url: HttpUrl
    # What the endpoint calls the model.
    model: str = Field(min_length=1)
    # A file whose only line is the key; none for an endpoint without.
    key_file: Path | None = None


LocalSource = CacheSource | PathSource | PackageSource
Source = Annotated[CacheSource | PathSource | PackageSource | HubSource | EndpointSource, Field(discriminator="kind")]


class AutoscalingBounds(Part):
    """How many replicas, and how full each should be."""

    # 0: without requests for `downscale_delay_seconds` none is left, and the next request waits for one to start.
    min_replicas: int = Field(default=1, ge=0, le=10_000)
    max_replicas: int = Field(default=1, ge=1, le=10_000)
    # Requests running and waiting that one replica should have.
    target_running: int = Field(default=16, ge=1)
    upscale_delay_seconds: float = Field(default=0.5, ge=0)
    downscale_delay_seconds: float = Field(default=120.0, ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError("max_replicas is below min_replicas")
        return self


class Cost(Part):
    """Price of a million tokens, in one currency for the whole file; for a model of one's own, what it costs to run."""

    input_per_million: float = Field(default=0.0, ge=0)
    output_per_million: float = Field(default=0.0, ge=0)

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Price of one request."""
        return (self.input_per_million * prompt_tokens + self.output_per_million * completion_tokens) / 1_000_000


class AdapterConfig(Part):
    """A LoRA adapter of a model. Added or removed without restarting the replicas."""

    name: str = Field(pattern=NAME, max_length=128)
    source: Annotated[CacheSource | PathSource | PackageSource, Field(discriminator="kind")]


class ModelConfig(Part):
    """One language model: one Serve application, one deployment, one or more replicas."""

    name: str = Field(pattern=NAME, max_length=128)
    # The folder of Envoy's endpoints and the name of the Serve application.
    application: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    source: Source | None = None
    capabilities: tuple[CapabilityName, ...] = (CapabilityName.CHAT,)
    context_length: int = Field(ge=64)
    # What it writes well, as ISO 639-1 codes.
    languages: tuple[Annotated[str, Field(pattern=r"^[a-z]{2}$")], ...] = ("en",)
    # How good its answers are, 1 (barely) to 10; requests may ask for a least.
    quality: int = Field(default=1, ge=1, le=10)
    cost: Cost = Cost()
    engine: EngineConfig
    adapters: tuple[AdapterConfig, ...] = ()
    # Environment variables of the replicas. Not for secrets: they are shown by Ray.
    environment: dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str] = Field(default_factory=dict)
    max_queued_requests: int = Field(default=64, ge=0)
    autoscaling: AutoscalingBounds = AutoscalingBounds()

    @model_validator(mode="after")
    def _honest(self) -> Self:
        simulated = self.engine.kind == "simulated"
        if simulated != self.name.startswith("simulated-"):
            raise ValueError('the name starts with "simulated-" exactly when the engine is simulated')
        if not simulated and self.source is None:
            raise ValueError("source is missing")
        if isinstance(self.source, EndpointSource) != isinstance(self.engine, RemoteEngineConfig):
            raise ValueError('source kind "endpoint" and engine kind "remote" belong together')
        if isinstance(self.engine, RemoteEngineConfig) and CapabilityName.SCORE in self.capabilities:
            raise ValueError("a remote model cannot score: its endpoint has no likelihoods of prompts")
        return self

    @model_validator(mode="after")
    def _adaptable(self) -> Self:
        names = [adapter.name for adapter in self.adapters]
        if len(set(names)) != len(names):
            raise ValueError("two adapters share one name")
        if names and not (isinstance(self.engine, VllmEngineConfig) and self.engine.max_adapters):
            raise ValueError('adapters need engine kind "vllm" with max_adapters')
        return self


class Pooling(StrEnum):
    """What of a text's tokens its vector is made of."""

    MEAN = "mean"
    FIRST = "first"


class EncoderConfig(Part):
    """An embedding model: a BERT as safetensors or as ONNX, with its tokenizer."""

    model: str
    source: Annotated[LocalSource, Field(discriminator="kind")]
    pooling: Pooling = Pooling.MEAN
    max_tokens: int = Field(default=256, ge=8, le=512)
    # What stands before a question that is compared with texts, when the model was trained so.
    question_prefix: str = ""


class EmbedderConfig(EncoderConfig):
    """The embedding models and how their calls are batched; the first is the default."""

    replicas: int = Field(default=1, ge=1)
    threads: int = Field(default=1, ge=1)
    max_batch_texts: int = Field(default=64, ge=1)
    max_wait_milliseconds: float = Field(default=2.0, ge=0)
    max_queued_texts: int = Field(default=4096, ge=1)
    # In the same replicas, asked for by name; the limits above hold for each.
    further: tuple[EncoderConfig, ...] = ()

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        names = [self.model, *(other.model for other in self.further)]
        if len(set(names)) != len(names):
            raise ValueError("two embedding models share one name")
        return self


class TargetConfig(Part):
    """Everything one target runs; the first model is the default."""

    router: RouterConfig = RouterConfig()
    embedder: EmbedderConfig | None = None
    models: tuple[ModelConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for what in ("name", "application"):
            seen = [getattr(model, what) for model in self.models]
            if len(set(seen)) != len(seen):
                raise ValueError(f"two models share one {what}")
        if taken := {"router", "embedder"} & {model.application for model in self.models}:
            raise ValueError(f"no model can have the application {taken.pop()}")
        return self

    @model_validator(mode="after")
    def _known(self) -> Self:
        named = set(self.router.cascade.models if self.router.cascade else ())
        for model, others in self.router.fallbacks.items():
            named |= {model, *others}
        if unknown := sorted(named - {model.name for model in self.models}):
            raise ValueError(f"router names models that are not in the file: {', '.join(unknown)}")
        return self

    @property
    def applications(self) -> tuple[str, ...]:
        """The names of the Serve applications, as Envoy knows them."""
        embedder = ("embedder",) if self.embedder else ()
        return ("router", *embedder, *(model.application for model in self.models))


def load_config(file: Path) -> TargetConfig:
    """Read and check a target. Raises ConfigError with one line a problem."""
    return yaml_file.load(file, TargetConfig)
