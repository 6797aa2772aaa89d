"""What vLLM and Ray themselves make of every target that ships, as far as a machine without GPUs can tell."""

from pathlib import Path

import pytest
from ray.autoscaler._private.resource_demand_scheduler import get_bin_pack_residual
from vllm.config import KVTransferConfig, LoRAConfig, ParallelConfig, SchedulerConfig

from serve_apps.assistant.config import HubSource, ModelConfig, load_config
from serve_apps.assistant.engine_check import problems
from serve_apps.assistant.engine_config import KvTransfer, VllmEngineConfig
from serve_apps.assistant.engines.vllm import engine_arguments
from serve_apps.assistant.placement import placement
from serve_apps.assistant.settings import CONFIGS

# Of torch's own making, at its import.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

MODELS = [
    pytest.param(model, id=f"{file.stem}-{model.name}")
    for file in sorted(CONFIGS.glob("*.yaml"))
    for model in load_config(file).models
    if isinstance(model.engine, VllmEngineConfig)
]
# A described cluster: a node without GPUs for the rest, five with four GPUs each and enough cores.
NODES = [{"CPU": 16.0}, *({"CPU": 32.0, "GPU": 4.0} for _ in range(8))]


@pytest.mark.parametrize("model", MODELS)
def test_vllm_takes_the_arguments(model: ModelConfig) -> None:
    engine = model.engine
    assert isinstance(engine, VllmEngineConfig)
    revision = model.source.revision if isinstance(model.source, HubSource) else None
    arguments = engine_arguments("some/model", engine, context_length=model.context_length, revision=revision)
    assert arguments.revision == revision
    parallel = ParallelConfig(
        tensor_parallel_size=arguments.tensor_parallel_size,
        pipeline_parallel_size=arguments.pipeline_parallel_size,
        # On this machine vLLM would look for the GPUs; where they are is Ray's to say.
        distributed_executor_backend="ray" if engine.gpus > 1 else "uni",
    )
    assert parallel.world_size == max(engine.gpus, 1)
    scheduler = SchedulerConfig(
        max_model_len=arguments.max_model_len,
        max_num_seqs=arguments.max_num_seqs,
        max_num_batched_tokens=arguments.max_num_batched_tokens,
        policy=arguments.scheduling_policy,
        is_encoder_decoder=False,
    )
    assert scheduler.max_num_seqs == engine.max_running
    if engine.max_adapters:
        lora = LoRAConfig(
            max_loras=arguments.max_loras,
            max_lora_rank=arguments.max_lora_rank,
            target_modules=arguments.lora_target_modules,
        )
        assert lora.max_loras == engine.max_adapters
        # With it the CPU engine would end when several prompts' likelihoods are asked for at once.
        assert lora.target_modules
        assert "lm_head" not in lora.target_modules


def test_prefill_and_decode_can_be_split() -> None:
    engine = VllmEngineConfig(kind="vllm", kv_transfer=KvTransfer(connector="NixlConnector", role="kv_producer"))
    arguments = engine_arguments("some/model", engine, context_length=4096)
    assert isinstance(arguments.kv_transfer_config, KVTransferConfig)
    assert arguments.kv_transfer_config.is_kv_producer
    assert not arguments.kv_transfer_config.is_kv_consumer


@pytest.mark.parametrize("most", [False, True], ids=["at the start", "at full load"])
def test_the_cluster_has_room_for_every_replica(most: bool) -> None:
    config = load_config(CONFIGS / "gpu-cluster.yaml")
    demands = []
    for model in config.models:
        bounds = model.autoscaling
        placed = placement(model, loopback=False)
        actor = placed["ray_actor_options"]
        single = {"CPU": actor["num_cpus"], "GPU": actor.get("num_gpus", 0)}
        bundles = placed.get("placement_group_bundles") or [{name: value for name, value in single.items() if value}]
        # A replica over several GPUs is packed on one node, so its bundles are one demand.
        whole = {name: sum(bundle.get(name, 0) for bundle in bundles) for name in ("CPU", "GPU")}
        demands += [{name: value for name, value in whole.items() if value}] * (
            bounds.max_replicas if most else bounds.min_replicas
        )
    unplaced, _ = get_bin_pack_residual([dict(node) for node in NODES], demands)
    assert unplaced == []
    # Not for free: one GPU node fewer would be too few at full load.
    short, _ = get_bin_pack_residual([dict(node) for node in NODES[:-1]], demands)
    assert bool(short) is most


def test_a_replica_over_several_gpus_stays_on_one_node() -> None:
    large = load_config(CONFIGS / "gpu-cluster.yaml").models[1]
    placed = placement(large, loopback=False)
    assert placed["placement_group_strategy"] == "STRICT_PACK"
    assert [bundle["GPU"] for bundle in placed["placement_group_bundles"]] == [4.0]
    assert "num_gpus" not in placed["ray_actor_options"]


def test_a_model_of_a_hub_may_be_fetched_and_a_local_one_not(tmp_path: Path) -> None:
    small = load_config(CONFIGS / "gpu-1.yaml").models[0]
    fetched = placement(small, loopback=False)["ray_actor_options"]
    assert fetched["num_gpus"] == 1
    assert fetched["runtime_env"]["env_vars"]["HF_HUB_OFFLINE"] == "0"
    local = placement(load_config(CONFIGS / "laptop.yaml").models[0], loopback=True)["ray_actor_options"]
    assert local["runtime_env"]["env_vars"]["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(("mebibytes", "found"), [(180, []), (179, ["needs 180, 179 are given"])])
def test_a_cache_that_cannot_hold_one_request_is_found_before_the_weights_are_loaded(
    mebibytes: int, found: list[str]
) -> None:
    [model] = (one for one in load_config(CONFIGS / "laptop.yaml").models if isinstance(one.engine, VllmEngineConfig))
    engine = model.engine.model_copy(update={"kv_cache_mebibytes": mebibytes})
    said = problems(model.model_copy(update={"engine": engine, "context_length": 4096}))
    assert [problem.rpartition("tokens ")[2] for problem in said] == found
