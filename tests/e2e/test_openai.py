"""The unmodified `openai` client against the real model, through the door, with a key made on the command line."""

import json
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import pytest_asyncio

from serve_apps.assistant.models import cache_folder
from tests.support.stack import Stack

MODEL = "smollm2-135m-instruct"
ASKED: list[Any] = [{"role": "user", "content": "Name a colour."}]
SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}


@pytest_asyncio.fixture(scope="module")
async def client(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    made = stack.deskmesh_json("api-keys", "create", "Program", "--scope", "inference.use")
    http = httpx2.AsyncClient(verify=ssl.create_default_context(cafile=str(stack.ca_file)))
    async with openai.AsyncOpenAI(
        base_url=f"{stack.edge_url}/v1", api_key=made["secret"], http_client=http, max_retries=1
    ) as client:
        yield client


async def test_a_seed_repeats_an_answer_and_a_stream_says_the_same(client: openai.AsyncOpenAI) -> None:
    wanted: Any = {"model": MODEL, "messages": ASKED, "max_tokens": 6, "seed": 3, "logprobs": True, "top_logprobs": 1}
    whole = await client.chat.completions.create(**wanted)
    assert whole.usage
    assert 0 < whole.usage.completion_tokens <= 6
    stream = await client.chat.completions.create(**wanted, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert whole.choices[0].logprobs
    assert whole.choices[0].logprobs.content
    assert all(token.logprob <= 0 for token in whole.choices[0].logprobs.content)


async def test_decoding_is_held_to_a_schema(client: openai.AsyncOpenAI) -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA}}
    answer = await client.chat.completions.create(
        model=MODEL, messages=ASKED, response_format=wanted, max_tokens=24, temperature=0
    )
    assert json.loads(answer.choices[0].message.content or "")["colour"] in ("red", "green")


async def test_a_tool_that_must_be_called_is_called_as_its_schema_says(client: openai.AsyncOpenAI) -> None:
    tools: Any = [
        {"type": "function", "function": {"name": "paint", "description": "Paints a wall.", "parameters": SCHEMA}},
        {"type": "function", "function": {"name": "leave", "description": "Leaves it as it is."}},
    ]
    named: Any = {"type": "function", "function": {"name": "paint"}}
    choices: list[tuple[Any, set[str]]] = [(named, {"paint"}), ("required", {"paint", "leave"})]
    for choice, names in choices:
        answer = await client.chat.completions.create(
            model=MODEL, messages=ASKED, tools=tools, tool_choice=choice, max_tokens=48, temperature=0
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        assert answer.choices[0].message.tool_calls
        for call in answer.choices[0].message.tool_calls:
            assert call.type == "function"
            assert call.function.name in names
            arguments = json.loads(call.function.arguments)
            assert arguments.get("colour") in ("red", "green") if call.function.name == "paint" else arguments == {}


async def test_several_answers_and_where_they_stop(client: openai.AsyncOpenAI) -> None:
    wanted: Any = {"model": MODEL, "messages": ASKED, "max_tokens": 8, "seed": 3}
    several = await client.chat.completions.create(**wanted, n=2)
    assert [choice.index for choice in several.choices] == [0, 1]
    first = several.choices[0].message.content or ""
    alone = await client.chat.completions.create(**wanted)
    assert alone.choices[0].message.content == first
    assert several.usage
    assert alone.usage
    assert several.usage.prompt_tokens == alone.usage.prompt_tokens
    end = first[len(first) // 2 :][:3]
    stopped = await client.chat.completions.create(**wanted, stop=[end])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == (first[: first.index(end)], "stop")


async def test_models_and_vectors(client: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert MODEL in names
    near, also_near, far = (
        one.embedding
        for one in (
            await client.embeddings.create(
                model=names[-1], input=["How do I return shoes?", "Sending shoes back", "The moon is far"]
            )
        ).data
    )
    assert _cosine(near, also_near) > _cosine(near, far) + 0.2


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


# What `vllm bench serve` runs. The command itself looks for a package named vllm, but that of a CPU has another name.
BENCH = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


# Its imports alone take longer than all of the above.
@pytest.mark.nightly
def test_vllms_own_benchmark_finds_nothing_amiss(stack: Stack, tmp_path: Path) -> None:
    made = stack.deskmesh_json("api-keys", "create", "Benchmark", "--scope", "inference.use")
    command = [
        *(sys.executable, "-c", BENCH),
        *("--backend", "openai-chat", "--base-url", stack.edge_url, "--endpoint", "/v1/chat/completions"),
        *("--model", MODEL, "--tokenizer", str(cache_folder() / MODEL)),
        *("--dataset-name", "random", "--random-input-len", "16", "--random-output-len", "8"),
        *("--num-prompts", "6", "--max-concurrency", "3", "--disable-tqdm"),
        *("--save-result", "--result-dir", str(tmp_path), "--result-filename", "result.json"),
    ]
    environment = stack.environment | {"OPENAI_API_KEY": made["secret"], "SSL_CERT_FILE": str(stack.ca_file)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["completed"], result["failed"]) == (6, 0)
    # It asks for answers that do not end before.
    assert result["total_output_tokens"] == 48
