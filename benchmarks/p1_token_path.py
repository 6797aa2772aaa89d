"""P1: tokens a second through Envoy (mTLS), the router and a replica, against the same engine in this process.

Both sides run vLLM with the same model, settings and prompts; while one is measured the other is idle. The client of
the served side runs on the same cores, so what it costs is counted against the path. Which processes used how much of
a processor stands beside the ratio.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable

from benchmarks.harness import alternate, compare, report
from benchmarks.support.models import REPLICA_METADATA, Models, running_models
from benchmarks.support.parts import cpu_by_part
from deskmesh.inference.v1 import chat_pb2, inference_service_pb2
from serve_apps.assistant.config import CacheSource, ModelConfig, load_config
from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.engines import vllm
from serve_apps.assistant.models import cache_folder, find_weights
from serve_apps.assistant.settings import CONFIGS

STREAMS = (8, 32)
TOKENS = 48
PAIRS = 5
CONFIG = CONFIGS / "laptop.yaml"

Stream = Callable[[str], Awaitable[int]]


def question(turn: int, number: int) -> str:
    """A prompt nobody sent before, so that no answer comes out of a cache; and one that asks for many words."""
    return f"Story {turn}-{number}: write a very long story about a sailor, a lighthouse and a storm."


class Side:
    """One of the two that are compared: its rate, and which processes it keeps busy."""

    def __init__(self, stream: Stream, streams: int) -> None:
        self._stream = stream
        self._streams = streams
        self._turn = self._tokens = 0
        self._used: defaultdict[str, float] = defaultdict(float)

    async def rate(self) -> float:
        """Tokens a second of that many streams at once."""
        self._turn += 1
        before, started = cpu_by_part(), time.perf_counter()
        asked = (question(self._turn, number) for number in range(self._streams))
        tokens = sum(await asyncio.gather(*map(self._stream, asked)))
        seconds = time.perf_counter() - started
        for part, used in cpu_by_part().items():
            self._used[part] += used - before.get(part, 0.0)
        self._tokens += tokens
        return tokens / seconds

    def milliseconds_a_token(self) -> dict[str, float]:
        """CPU milliseconds of each part, of all turns together."""
        return {part: round(1000 * used / self._tokens, 2) for part, used in self._used.items()}


async def served(models: Models, content: str) -> int:
    """One answer through the whole path."""
    name, replica = await models.route()
    request = inference_service_pb2.ChatRequest(
        model=name,
        messages=[chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=content)],
        sampling=chat_pb2.Sampling(max_tokens=TOKENS),
    )
    tokens = 0
    async for frame in models.inference.Chat(request, metadata=((REPLICA_METADATA, replica),)):
        tokens += frame.delta.tokens
    return tokens


class BareEngine:
    """vLLM's own AsyncLLM and nothing else."""

    def __init__(self, model: ModelConfig, config: VllmEngineConfig) -> None:
        from vllm.v1.engine.async_llm import AsyncLLM

        assert isinstance(model.source, CacheSource)
        arguments = vllm.engine_arguments(find_weights(model.source).name, config, context_length=model.context_length)
        self._engine = AsyncLLM.from_engine_args(arguments)
        self._tokenizer = self._engine.get_tokenizer()
        self._requests = 0

    async def answer(self, content: str) -> int:
        from vllm import SamplingParams
        from vllm.inputs.engine import tokens_input
        from vllm.sampling_params import RequestOutputKind

        self._requests += 1
        messages = [{"role": "user", "content": content}]
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokens_input(self._tokenizer.encode(text, add_special_tokens=False))
        parameters = SamplingParams(max_tokens=TOKENS, temperature=0.0, output_kind=RequestOutputKind.DELTA)
        tokens = 0
        async for output in self._engine.generate(prompt, parameters, request_id=str(self._requests)):
            tokens += len(output.outputs[0].token_ids)
        return tokens

    def stop(self) -> None:
        self._engine.shutdown()


async def main() -> None:
    model = load_config(CONFIG).models[0]
    assert isinstance(model.engine, VllmEngineConfig)
    async with running_models(CONFIG) as models:
        os.environ |= vllm.environment(model.engine, cache_folder().parent / "vllm", loopback=True)
        bare = BareEngine(model, model.engine)
        try:
            for streams in STREAMS:
                await measure(models, bare, streams)
        finally:
            bare.stop()


async def measure(models: Models, bare: BareEngine, streams: int) -> None:
    path, alone = Side(lambda content: served(models, content), streams), Side(bare.answer, streams)
    pairs = await alternate(path.rate, alone.rate, pairs=PAIRS)
    report(
        compare(
            f"P1_token_path_{streams}_streams",
            "tokens/s",
            pairs,
            streams=streams,
            tokens_a_stream=TOKENS,
            cpu_milliseconds_a_token=path.milliseconds_a_token(),
            cpu_milliseconds_a_token_alone=alone.milliseconds_a_token(),
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
