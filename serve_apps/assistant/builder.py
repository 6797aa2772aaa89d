"""The applications as Ray Serve builds them from a configuration file on a cluster: one import path for all of them.

What an application gets is written by `mesh.kuberay`, so that a change of a target's file reaches the cluster without a
new image, and only the applications that it concerns.
"""

import os
from pathlib import Path
from typing import Self

from pydantic import model_validator
from ray.serve.deployment import Application

from serve_apps.assistant import app
from serve_apps.assistant.config import EmbedderConfig, ModelConfig
from serve_apps.assistant.part import Part
from serve_apps.assistant.replica import ReplicaSettings, ReplicaTls
from serve_apps.assistant.routing_config import RouterConfig

# Longer than the longest stream, so that no answer is cut by a new version.
DRAIN_SECONDS = 310.0
FIRST_PORT = 40_000
# The node's address; a replica finds it out where it runs.
ANY_NODE = ""
# In the run folder, which the pod's Envoy shares.
ENDPOINTS_FOLDER = "eds"


class RouterArguments(Part):
    """What the router needs to know: all models, too."""

    config: RouterConfig
    models: tuple[ModelConfig, ...]


class EndpointsArguments(Part):
    """Of which applications Envoy is to know the replicas, and how many Envoys there are."""

    applications: tuple[str, ...]
    doors: int


class Arguments(Part):
    """One application: exactly one of the four."""

    router: RouterArguments | None = None
    endpoints: EndpointsArguments | None = None
    embedder: EmbedderConfig | None = None
    model: ModelConfig | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(part is not None for part in (self.router, self.embedder, self.model, self.endpoints)) != 1:
            raise ValueError("exactly one of router, embedder, model and endpoints is needed")
        return self


def build(arguments: Arguments) -> Application:
    """The application. Raises FileNotFoundError when the image has not the model's files."""
    settings = replica_settings()
    match arguments:
        case Arguments(router=RouterArguments(config=config, models=models)):
            return app.router(config, models, settings)
        case Arguments(endpoints=EndpointsArguments(applications=applications, doors=doors)):
            return app.endpoints(applications, settings.run_folder / ENDPOINTS_FOLDER, doors)
        case Arguments(embedder=EmbedderConfig() as embedder):
            return app.embedder(embedder, settings)
        case Arguments(model=ModelConfig() as model):
            return app.language_model(model, settings)
    raise ValueError("nothing to build")


def replica_settings() -> ReplicaSettings:
    """What replicas on a cluster are told; the environment is that of their pods."""
    return ReplicaSettings(
        host=ANY_NODE,
        first_port=FIRST_PORT,
        run_folder=Path(os.environ.get("DESKMESH_RUN_FOLDER", "/run/deskmesh")),
        environment=os.environ.get("DESKMESH_ENVIRONMENT", "prod"),
        log_level=os.environ.get("DESKMESH_LOG_LEVEL", "INFO"),
        otlp_endpoint=os.environ.get("DESKMESH_OTLP_ENDPOINT", ""),
        drain_seconds=DRAIN_SECONDS,
        tls=_tls_of_ray(),
    )


def _tls_of_ray() -> ReplicaTls | None:
    """The certificate that Ray itself shows, which KubeRay gives each pod; None without one."""
    if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
        return None
    return ReplicaTls(*(Path(os.environ[f"RAY_TLS_{name}"]) for name in ("SERVER_CERT", "SERVER_KEY", "CA_CERT")))
