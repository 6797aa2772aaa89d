"""The machines that a target needs, by group: pure arithmetic over its file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from serve_apps.assistant.app import SURGE_PERCENT
from serve_apps.assistant.config import EndpointSource, HubSource, ModelConfig, TargetConfig
from serve_apps.assistant.engine_config import VllmEngineConfig

CPU_GROUP = "cpu"
CPU_GROUP_CORES = 8
CPU_GROUP_GIBIBYTES = 16
# Beside each GPU: vLLM's scheduler, its worker, the replica itself, and the weights on their way through memory.
CORES_PER_GPU = 6
GIBIBYTES_PER_GPU = 48
GIBIBYTES_BESIDE_CPU_ENGINE = 8
# What a router and a remote model's replica compute with at most.
ROUTER_CORES = 1.0
REMOTE_CORES = 0.5
# While a new version starts, the old one goes on.
SURGE = 1 + SURGE_PERCENT / 100


@dataclass(frozen=True)
class NodeGroup:
    """Machines of one kind; `fewest` and `most` pods, the surge of an update included in the latter."""

    name: str
    cores: int
    gibibytes: int
    gpus: int
    fewest: int
    most: int
    # Whether its replicas fetch weights or ask providers.
    reaches_outside: bool = False


def node_groups(config: TargetConfig) -> Sequence[NodeGroup]:
    """One group for what needs no GPU, one for each model with an engine of its own."""
    own = [(model, model.engine) for model in config.models if isinstance(model.engine, VllmEngineConfig)]
    return [_cpu_group(config), *(_of_model(model, engine) for model, engine in own)]


def _cpu_group(config: TargetConfig) -> NodeGroup:
    embedder = config.embedder.replicas * config.embedder.threads if config.embedder else 0
    others = [model for model in config.models if not isinstance(model.engine, VllmEngineConfig)]
    fixed = config.router.replicas * ROUTER_CORES + embedder
    fewest = fixed + sum(model.autoscaling.min_replicas for model in others) * REMOTE_CORES
    most = fixed + sum(model.autoscaling.max_replicas for model in others) * REMOTE_CORES
    # Two replicas on one machine would be lost together.
    spread = 2 if config.router.replicas > 1 else 1
    return NodeGroup(
        CPU_GROUP,
        CPU_GROUP_CORES,
        CPU_GROUP_GIBIBYTES,
        0,
        max(spread, math.ceil(fewest / CPU_GROUP_CORES)),
        max(spread, math.ceil(most * SURGE / CPU_GROUP_CORES)),
        any(isinstance(model.source, EndpointSource) for model in others),
    )


def _of_model(model: ModelConfig, engine: VllmEngineConfig) -> NodeGroup:
    """A pod for each stage of each replica, so that a pod's GPUs belong to one replica."""
    gpus = 0 if engine.threads else engine.tensor_parallel
    bounds = model.autoscaling
    return NodeGroup(
        model.application,
        gpus * CORES_PER_GPU or (engine.threads or 1) + 1,
        gpus * GIBIBYTES_PER_GPU or GIBIBYTES_BESIDE_CPU_ENGINE,
        gpus,
        bounds.min_replicas * engine.pipeline_parallel,
        math.ceil(bounds.max_replicas * SURGE) * engine.pipeline_parallel,
        isinstance(model.source, HubSource),
    )
