"""Where a replica runs, and with what."""

from typing import Any

from serve_apps.assistant.config import HubSource, ModelConfig
from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.engines import vllm
from serve_apps.assistant.models import cache_folder


def placement(model: ModelConfig, *, loopback: bool) -> dict[str, Any]:
    """Where a replica runs and with what: CPUs, GPUs, environment; several GPUs as one placement group on one node,
    or, with pipeline stages, one bundle a stage."""
    engine = model.engine
    if not isinstance(engine, VllmEngineConfig):
        return {"ray_actor_options": {"num_cpus": 0.5, "runtime_env": {"env_vars": dict(model.environment)}}}
    environment = vllm.environment(engine, cache_folder().parent / "vllm", loopback=loopback)
    if isinstance(model.source, HubSource):
        environment["HF_HUB_OFFLINE"] = "0"
    options: dict[str, Any] = {"num_cpus": 0.5, "runtime_env": {"env_vars": environment | model.environment}}
    if engine.gpus == 0:
        return {"ray_actor_options": options}
    if engine.gpus == 1:
        return {"ray_actor_options": options | {"num_gpus": 1}}
    # The replica itself stands in the first bundle; vLLM's executor puts its workers on the GPUs.
    stage = {"CPU": 1.0, "GPU": float(engine.tensor_parallel)}
    first = {"CPU": stage["CPU"] + 0.5, "GPU": stage["GPU"]}
    return {
        "ray_actor_options": options,
        "placement_group_bundles": [first, *([stage] * (engine.pipeline_parallel - 1))],
        "placement_group_strategy": "STRICT_PACK" if engine.pipeline_parallel == 1 else "PACK",
    }
