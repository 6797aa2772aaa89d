"""`python -m serve_apps.assistant.engine_check`: what vLLM says of engines' arguments.

Models come as JSON on standard input, problems go as a JSON list to the last line of standard output.
"""

import json
import sys

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
            arguments.create_model_config()
    except Exception as error:  # noqa: BLE001 - whatever it is, it would have stopped the engine
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return [f"{model.name}: vLLM: {' '.join(line.strip() for line in lines)[:300]}"]
    return []


def main() -> None:
    """Read, check, answer."""
    found = [problem for one in json.load(sys.stdin) for problem in problems(ModelConfig.model_validate(one))]
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
