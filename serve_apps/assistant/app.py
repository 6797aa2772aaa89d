"""The Serve applications of a target: one for the router, one for the embedder, one for each language model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import serve
from ray.serve.deployment import Application

from serve_apps.assistant.autoscaling import QueueDepthPolicy
from serve_apps.assistant.config import (
    CacheSource,
    EmbedderConfig,
    ModelConfig,
    PackageSource,
    PathSource,
    TargetConfig,
)
from serve_apps.assistant.deployments.embedder import Embedder
from serve_apps.assistant.deployments.endpoints import Endpoints
from serve_apps.assistant.deployments.llm import LanguageModel
from serve_apps.assistant.deployments.router import Router
from serve_apps.assistant.loopback import HOST
from serve_apps.assistant.models import locate
from serve_apps.assistant.placement import placement
from serve_apps.assistant.replica import FAREWELL_SECONDS, ReplicaSettings
from serve_apps.assistant.routing_config import RouterConfig
from serve_apps.assistant.versions import version_of

# Three checks in a row must fail, so a dead engine is noticed within four seconds.
HEALTH_PERIOD_SECONDS = 1.0
HEALTH_TIMEOUT_SECONDS = 10.0
# How often replicas tell the controller how busy they are.
METRICS_SECONDS = 0.5
# A new replica starts before the old one stops.
SURGE_PERCENT = 100
# Serve asks for a limit; the real one is the replica's own, as its calls do not come through Serve.
UNLIMITED = 1_000_000
# What a pod with an Envoy has one of, in Ray's words.
DOOR = "door"
# Serve calls `reconfigure` only where there is something to say.
START = {"start": True}


def build_apps(config: TargetConfig, settings: ReplicaSettings) -> Mapping[str, Application]:
    """Every application by name, not deployed; what takes longest to start comes first.

    Raises FileNotFoundError when a model's files are not there.
    """
    apps = {model.application: language_model(model, settings) for model in config.models}
    if config.embedder is not None:
        apps["embedder"] = embedder(config.embedder, settings)
    return apps | {"router": router(config.router, config.models, settings)}


def router(config: RouterConfig, models: tuple[ModelConfig, ...], settings: ReplicaSettings) -> Application:
    """The router over these models."""
    deployment = serve.deployment(
        Router,
        name="router",
        num_replicas=config.replicas,
        max_ongoing_requests=UNLIMITED,
        ray_actor_options={"num_cpus": 0.1},
        **rollout(settings.drain_seconds),
        user_config=START,
    )
    return deployment.bind(config, models, settings)


def embedder(config: EmbedderConfig, settings: ReplicaSettings) -> Application:
    """The embedder. Raises FileNotFoundError."""
    threads = str(config.threads)
    deployment = serve.deployment(
        Embedder,
        name="embedder",
        num_replicas=config.replicas,
        max_ongoing_requests=UNLIMITED,
        ray_actor_options={"num_cpus": 0.2, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": threads}}},
        **rollout(settings.drain_seconds),
        user_config=START,
    )
    folders = [locate(one.source) for one in (config, *config.further)]
    return deployment.bind(config, folders, settings)


def endpoints(applications: tuple[str, ...], folder: Path, doors: int) -> Application:
    """What keeps the files of a cluster's Envoys, one beside each; files stay while who writes them is replaced."""
    deployment = serve.deployment(
        Endpoints,
        name="endpoints",
        num_replicas=doors,
        ray_actor_options={"num_cpus": 0, "resources": {DOOR: 1}},
        user_config=START,
        **watched(),
    )
    return deployment.bind(applications, folder)


def changeable(model: ModelConfig) -> dict[str, Any]:
    """The options of a model's deployment whose change reaches running replicas without a restart, in plain values."""
    bounds = model.autoscaling
    policy = {
        "policy_function": f"{QueueDepthPolicy.__module__}:{QueueDepthPolicy.__name__}",
        "policy_kwargs": {
            "model": model.name,
            "target_running": bounds.target_running,
            "upscale_delay_seconds": bounds.upscale_delay_seconds,
            "downscale_delay_seconds": bounds.downscale_delay_seconds,
        },
    }
    return {
        "autoscaling_config": {
            "min_replicas": bounds.min_replicas,
            "max_replicas": bounds.max_replicas,
            # Where none is kept, too: a model that cannot be loaded should show at the start.
            "initial_replicas": max(bounds.min_replicas, 1),
            "metrics_interval_s": METRICS_SECONDS,
            "look_back_period_s": METRICS_SECONDS * 2,
            # Serve would let 30 s and 600 s pass after the policy's own delays.
            "upscale_delay_s": 0.0,
            "downscale_delay_s": 0.0,
            "policy": policy,
        },
        # The real limit is the replica's own, `max_queued_requests` included.
        "max_ongoing_requests": UNLIMITED,
        "user_config": {"adapters": [adapter.model_dump(mode="json") for adapter in model.adapters]},
    }


def watched() -> dict[str, Any]:
    """The options of every deployment that say how replicas are watched, in plain values."""
    return {"health_check_period_s": HEALTH_PERIOD_SECONDS, "health_check_timeout_s": HEALTH_TIMEOUT_SECONDS}


def rollout(drain_seconds: float) -> dict[str, Any]:
    """The same, and how replicas that serve calls are replaced."""
    return {
        **watched(),
        "graceful_shutdown_timeout_s": drain_seconds + FAREWELL_SECONDS + 5,
        "graceful_shutdown_wait_loop_s": 0.1,
        "max_surge_percent": SURGE_PERCENT,
    }


def language_model(model: ModelConfig, settings: ReplicaSettings) -> Application:
    """A language model. Raises FileNotFoundError."""
    # Asked here already: a model that is not there should stop the start, not a replica.
    if isinstance(model.source, CacheSource | PathSource | PackageSource):
        locate(model.source)
    for adapter in model.adapters:
        locate(adapter.source, needed="adapter_config.json")
    deployment = serve.deployment(
        LanguageModel,
        name=model.name,
        **placement(model, loopback=settings.host == HOST),
        **changeable(model),
        **rollout(settings.drain_seconds),
    )
    # By a version of Serve's own making it would replace the replicas even when only their adapters change.
    fixed = deployment.options(version=version_of(model), _internal=True)
    return fixed.bind(model.model_copy(update={"adapters": ()}), settings)
