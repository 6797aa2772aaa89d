"""The unmodified `openai` client against the real model, through the door, with a key made on the command line."""

import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest_asyncio

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
