"""`python -m serve_apps.assistant.engine_check`: what vLLM says of engines' arguments.

Models come as JSON on standard input, problems go as a JSON list to the last line of standard output.
"""

import json
import sys
from typing import Any

from serve_apps.assistant.config import EndpointSource, ModelConfig
from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.models import find_weights


def problems(model: ModelConfig) -> list[str]:
    """A line for what vLLM refuses."""
    from serve_apps.assistant.engines.vllm import engine_arguments

    engine, source = model.engine, model.source
    if not isinstance(engine, VllmEngineConfig) or source is None or isinstance(source, EndpointSource):
        return []
    weights = find_weights(source)
    try:
        arguments = engine_arguments(
            weights.name, engine, context_length=model.context_length, revision=weights.revision
        )
        if engine.gpus == 0:
            # With the model's own configuration: its context, its architecture.
            return _of_the_cache(model.name, arguments.create_model_config(), engine)
    except Exception as error:  # noqa: BLE001 - whatever it is, it would have stopped the engine
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return [f"{model.name}: vLLM: {' '.join(line.strip() for line in lines)[:300]}"]
    return []


def _of_the_cache(name: str, read: Any, engine: VllmEngineConfig) -> list[str]:
    """Whether the KV cache holds one request of the whole context; vLLM finds out only once the weights are loaded.

    `read` is vLLM's `ModelConfig`. Models whose layers keep less than keys and values of every token are not judged.
    """
    if not engine.kv_cache_mebibytes or read.use_mla or read.is_hybrid or read.get_sliding_window():
        return []
    of_a_token = 2 * read.get_total_num_hidden_layers() * read.get_total_num_kv_heads() * read.get_head_size()
    needed = -(-read.max_model_len * of_a_token * read.dtype.itemsize >> 20)
    if needed <= engine.kv_cache_mebibytes:
        return []
    return [
        f"{name}: kv_cache_mebibytes: a request of {read.max_model_len} tokens needs {needed}, "
        f"{engine.kv_cache_mebibytes} are given"
    ]


def main() -> None:
    """Read, check, answer."""
    found = [problem for one in json.load(sys.stdin) for problem in problems(ModelConfig.model_validate(one))]
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
