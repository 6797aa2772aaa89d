"""vLLM's AsyncLLM behind the engine interface."""

import asyncio
import gc
import itertools
import json
import logging
import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.engines.adapters import MODULES, find_problem
from serve_apps.assistant.engines.base import (
    Constraint,
    Delta,
    EngineDead,
    EngineLoad,
    Finished,
    FinishReason,
    Pair,
    Prompt,
    Rendered,
    Score,
    Scores,
    TokenLogProbability,
    Usage,
)
from serve_apps.assistant.engines.heartbeat import Heartbeat, engine_processes
from serve_apps.assistant.errors import ModelNotFound, PromptTooLong
from services.common.errors import InvalidInput

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

logger = logging.getLogger(__name__)

# The engine's process gets this long to end; it holds nothing that would have to be saved.
STOP_SECONDS = 1.0


def environment(config: VllmEngineConfig, cache: Path, *, loopback: bool) -> dict[str, str]:
    """What the process that runs the engine needs in its environment before it starts."""
    values = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_DO_NOT_TRACK": "1",
        "VLLM_CACHE_ROOT": str(cache),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        # The plugins of other packages would be imported in both of the engine's processes.
        "VLLM_PLUGINS": "",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not config.compiled:
        # Even then vLLM compiles a few small functions at their first use, for half a minute and with a C++ compiler.
        values["TORCH_COMPILE_DISABLE"] = "1"
    if loopback:
        values["VLLM_HOST_IP"] = "127.0.0.1"
    if config.threads:
        # Scheduler and model in one process. vLLM would put the model into a third one to bind its threads to cores,
        # which costs half a GiB and a sixth of the speed here.
        values |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(config.threads)}
    return values


def engine_arguments(model: str, config: VllmEngineConfig, *, context_length: int, revision: str | None = None) -> Any:
    """The configuration as vLLM's AsyncEngineArgs. `model` is a folder, or the ID of a hub's repository."""
    from vllm.config import KVTransferConfig
    from vllm.engine.arg_utils import AsyncEngineArgs

    on_cpu = {"gpu_memory_utilization": 0.3, "distributed_executor_backend": "uni"}
    on_gpu = {"gpu_memory_utilization": config.gpu_memory_share}
    sized = {"kv_cache_memory_bytes": config.kv_cache_mebibytes << 20} if config.kv_cache_mebibytes else {}
    adapted = {
        "enable_lora": True,
        "max_loras": config.max_adapters,
        "max_lora_rank": config.max_adapter_rank,
        "lora_target_modules": list(MODULES),
    }
    split = config.kv_transfer
    transfer = KVTransferConfig(kv_connector=split.connector, kv_role=split.role) if split else None
    return AsyncEngineArgs(
        model=model,
        revision=revision,
        dtype=config.dtype,
        quantization=config.quantization,
        tensor_parallel_size=config.tensor_parallel,
        pipeline_parallel_size=config.pipeline_parallel,
        kv_transfer_config=transfer,
        max_model_len=context_length,
        enforce_eager=not config.compiled,
        max_num_seqs=config.max_running,
        max_num_batched_tokens=config.max_batched_tokens,
        scheduling_policy="priority",
        enable_prefix_caching=True,
        structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
        disable_log_stats=True,
        enable_log_requests=False,
        **(on_cpu if config.threads else on_gpu),
        **(adapted if config.max_adapters else {}),
        **sized,
    )


class VllmEngine:
    """One model, loaded from a folder of safetensors or a hub's repository."""

    def __init__(
        self, model: str, config: VllmEngineConfig, *, context_length: int, revision: str | None = None
    ) -> None:
        self._model = model
        self._revision = revision
        self._config = config
        self._context_length = context_length
        self._engine: AsyncLLM | None = None
        self._tokenizer: Any = None
        self._numbers = itertools.count()
        self._in_flight = 0
        # As of the scheduler's last step.
        self._engine_waiting = 0
        self._kv_cache_usage = 0.0
        self._adapters: dict[str, Any] = {}
        self._adapter_numbers = itertools.count(1)
        self._heartbeat: Heartbeat | None = None

    async def start(self) -> None:
        """Start the engine's process and load the weights."""
        # Thousands of modules and no garbage: looking for it would take a fifth of the time.
        gc.disable()
        try:
            from vllm.v1.engine.async_llm import AsyncLLM

            arguments = engine_arguments(
                self._model, self._config, context_length=self._context_length, revision=self._revision
            )
        finally:
            gc.enable()
        # In a thread, so that the replica answers Serve's questions meanwhile.
        engine = await asyncio.to_thread(
            AsyncLLM.from_engine_args, arguments, stat_loggers=[_load_logger(self._observe)]
        )
        self._engine, self._tokenizer = engine, engine.get_tokenizer()
        # Looked for once: it means reading of every process of the machine.
        processes = await asyncio.to_thread(engine_processes)
        self._heartbeat = Heartbeat(engine.is_sleeping, lambda: processes)
        self._heartbeat.start()

    async def set_adapters(self, adapters: Mapping[str, Path]) -> Mapping[str, str]:
        """See Engine.set_adapters."""
        from vllm.lora.request import LoRARequest

        for name, request in list(self._adapters.items()):
            if request.lora_path != str(adapters.get(name)):
                del self._adapters[name]
                await self._started.remove_lora(request.lora_int_id)
        refused = {}
        for name, folder in adapters.items():
            if name in self._adapters:
                continue
            # Asked of ourselves first: an adapter that does not fit would end the engine at its first use.
            if problem := find_problem(folder, largest_rank=self._config.max_adapter_rank):
                refused[name] = problem
                continue
            request = LoRARequest(name, next(self._adapter_numbers), str(folder))
            try:
                await self._started.add_lora(request)
            except EngineDead:
                raise
            except Exception as error:
                logger.warning("an adapter could not be loaded", exc_info=error, extra={"adapter": name})
                refused[name] = "the engine could not load it; the log says why"
                continue
            self._adapters[name] = request
        return refused

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """See Engine.generate."""
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        tokens = self._tokens(prompt)
        if len(tokens) + prompt.max_tokens > self._context_length:
            raise PromptTooLong(len(tokens), prompt.max_tokens, self._context_length)
        parameters = SamplingParams(
            max_tokens=prompt.max_tokens,
            temperature=prompt.temperature,
            top_p=prompt.top_p,
            seed=prompt.seed,
            stop=list(prompt.stop),
            ignore_eos=prompt.ignore_end,
            structured_outputs=_structured(prompt.constraint),
            logprobs=prompt.log_probabilities,
            output_kind=RequestOutputKind.DELTA,
        )
        usage, reason = Usage(len(tokens)), FinishReason.STOP
        async for output in self._run(tokens, parameters, prompt.priority, self._adapter(prompt.adapter)):
            step = output.outputs[0]
            count = len(step.token_ids)
            usage = Usage(
                len(tokens), output.num_cached_tokens or usage.cached_prompt_tokens, usage.completion_tokens + count
            )
            if step.finish_reason == "length":
                reason = FinishReason.LENGTH
            if step.text or count:
                yield Delta(step.text, count, _log_probabilities(step))
        yield Finished(reason, usage)

    async def score(self, pairs: Sequence[Pair], *, priority: int) -> Scores:
        """See Engine.score. All pairs go to the engine at once, which batches them."""
        results = await asyncio.gather(*(self._score(pair, priority) for pair in pairs))
        usage = Usage(prompt_tokens=sum(tokens for _, tokens in results))
        return Scores(tuple(score for score, _ in results), usage)

    async def _score(self, pair: Pair, priority: int) -> tuple[Score, int]:
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        context, target = self._encode(pair.context), self._encode(pair.target)
        if not context:
            # The first token of a text has no probability without one before it.
            context = [self._tokenizer.bos_token_id or self._tokenizer.eos_token_id]
        tokens = context + target
        if len(tokens) + 1 > self._context_length:
            raise PromptTooLong(len(tokens), 1, self._context_length)
        parameters = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            prompt_logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        total = math.nan
        async for output in self._run(tokens, parameters, priority):
            steps = output.prompt_logprobs[len(context) :]
            total = sum(step[token].logprob for step, token in zip(steps, target, strict=True))
        return Score(total / len(target), len(target)), len(tokens)

    async def _run(
        self, tokens: list[int], parameters: Any, priority: int, adapter: Any = None
    ) -> AsyncGenerator[Any, None]:
        from vllm.exceptions import VLLMClientError, VLLMValidationError
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        outputs = self._started.generate(
            tokens_input(tokens),
            parameters,
            request_id=str(next(self._numbers)),
            priority=priority,
            lora_request=adapter,
        )
        self._in_flight += 1
        try:
            # Closing aborts the request in the engine, however this generator ends.
            async with aclosing(outputs):
                async for output in outputs:
                    yield output
        except EngineDeadError as error:
            raise EngineDead from error
        except (VLLMValidationError, VLLMClientError, ValueError) as error:
            logger.info("the engine refused a request", exc_info=error)
            violation = ("constraint", "cannot be used by the engine")
            raise InvalidInput("The engine cannot follow this constraint.", violations=[violation]) from error
        finally:
            self._in_flight -= 1

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """See Engine.count_tokens."""
        return [len(self._encode(text)) for text in texts]

    def load(self) -> EngineLoad:
        """See Engine.load."""
        if not self._in_flight:
            return EngineLoad()
        # No step follows an abort, so what the scheduler said last may be more than there is.
        waiting = min(self._engine_waiting, self._in_flight)
        return EngineLoad(self._in_flight - waiting, waiting, self._kv_cache_usage)

    async def check_health(self) -> None:
        """See Engine.check_health."""
        if self._engine is None or self._engine.errored:
            raise EngineDead
        if self._heartbeat is not None and self._heartbeat.has_stopped():
            # Its process may hang for ever, and with it every open stream; without it they end with an error at once.
            self._heartbeat.kill()
            raise EngineDead

    async def stop(self) -> None:
        """See Engine.stop."""
        engine, self._engine = self._engine, None
        if self._heartbeat is not None:
            self._heartbeat.stop()
        if engine is not None:
            await asyncio.to_thread(engine.shutdown, timeout=STOP_SECONDS)

    @property
    def _started(self) -> "AsyncLLM":
        if self._engine is None:
            raise EngineDead
        return self._engine

    def _encode(self, text: str) -> list[int]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def render(self, prompt: Prompt) -> Rendered:
        """See Engine.render."""
        text = self._text(prompt)
        return Rendered(text, len(self._encode(text)))

    def _text(self, prompt: Prompt) -> str:
        messages = [{"role": message.role.value, "content": message.content} for message in prompt.messages]
        text: str = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text + prompt.answer_prefix

    def _tokens(self, prompt: Prompt) -> list[int]:
        return self._encode(self._text(prompt))

    def _adapter(self, name: str) -> Any:
        if not name:
            return None
        if name not in self._adapters:
            raise ModelNotFound(f"No adapter named {name} here.", resource_name=name)
        return self._adapters[name]

    def _observe(self, waiting: int, kv_cache_usage: float) -> None:
        if self._heartbeat is not None:
            self._heartbeat.beat()
        self._engine_waiting, self._kv_cache_usage = waiting, kv_cache_usage


def _log_probabilities(step: Any) -> tuple[TokenLogProbability, ...]:
    """What vLLM says of the tokens of a step: for each a mapping of candidates, the drawn one among them."""
    if not step.logprobs:
        return ()
    found = []
    for token, candidates in zip(step.token_ids, step.logprobs, strict=True):
        ranked = sorted(candidates.values(), key=lambda one: one.rank or 0)
        own = candidates[token]
        alternatives = tuple((one.decoded_token or "", one.logprob) for one in ranked)
        found.append(TokenLogProbability(own.decoded_token or "", own.logprob, alternatives))
    return tuple(found)


def _load_logger(observe: Callable[[int, float], None]) -> Any:
    """What vLLM calls after every step of its scheduler, as the factory that it expects."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class LoadLogger(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            del vllm_config, engine_index

        def record(
            self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
        ) -> None:
            del iteration_stats, mm_cache_stats, engine_idx
            if scheduler_stats is not None:
                observe(scheduler_stats.num_waiting_reqs, scheduler_stats.kv_cache_usage)

        def log_engine_initialized(self) -> None:
            """There is nothing to add to vLLM's own words."""

    return LoadLogger


def _structured(constraint: Constraint | None) -> Any:
    if constraint is None:
        return None
    from vllm.sampling_params import StructuredOutputsParams

    if constraint.json_schema is not None:
        try:
            json.loads(constraint.json_schema)
        except ValueError as error:
            raise InvalidInput(violations=[("constraint.json_schema", "is not JSON")]) from error
    return StructuredOutputsParams(
        json=constraint.json_schema,
        regex=constraint.regex,
        grammar=constraint.grammar,
        choice=list(constraint.choice) if constraint.choice else None,
        disable_any_whitespace=True,
    )
