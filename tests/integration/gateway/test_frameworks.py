"""LangChain and LlamaIndex at the door, by their own classes for OpenAI: answers, streams, tools, forms, vectors."""

import ssl
from array import array
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest_asyncio
from pydantic import BaseModel, SecretStr

from tests.integration.gateway.conftest import Door
from tests.integration.gateway.models import EMBEDDER, MODEL, VECTOR
from tests.integration.gateway.test_openai import made

CALL = '<tool_call>{"name": "order_status", "arguments": {"number": "A7"}}</tool_call>'


class Verdict(BaseModel):
    """Whether something is so."""

    ok: bool


def order_status(number: str) -> str:
    """Where an order is."""
    return f"{number} is on its way"


@dataclass
class Entry:
    """What a framework is given to get in."""

    door: Door
    base_url: str
    key: str
    http: httpx2.AsyncClient

    def says(self, *words: str) -> None:
        """What the model answers from now on."""
        self.door.inference.engine.say = lambda _prompt: list(words)


@pytest_asyncio.fixture
async def entry(door: Door) -> AsyncIterator[Entry]:
    door.inference.engine.goes_on.set()
    key = await made(door, "inference.use")
    async with httpx2.AsyncClient(
        verify=ssl.create_default_context(cafile=str(door.folder / "pki" / "ca.crt"))
    ) as http:
        entry = Entry(door, f"https://localhost:{door.port}/v1", key.secret, http)
        entry.says("Hello", " there")
        yield entry


async def test_langchain(entry: Entry) -> None:
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    common: dict[str, Any] = {"base_url": entry.base_url, "api_key": SecretStr(entry.key)}
    model = ChatOpenAI(model=MODEL, http_async_client=entry.http, max_retries=0, stream_usage=True, **common)
    asked = [SystemMessage("Be kind."), HumanMessage("Hello?")]
    answer = await model.ainvoke(asked, stop=["END"], seed=7)
    assert answer.content == "Hello there"
    assert answer.usage_metadata
    assert answer.usage_metadata["total_tokens"] == 12
    chunks = [chunk async for chunk in model.astream(asked)]
    assert [chunk.content for chunk in chunks if chunk.content] == ["Hello", " there"]
    assert [chunk.usage_metadata["total_tokens"] for chunk in chunks if chunk.usage_metadata] == [12]

    entry.says(CALL)
    with_tools = model.bind_tools([order_status], tool_choice="order_status", strict=True)
    called = await with_tools.ainvoke(asked)
    assert isinstance(called, AIMessage)
    assert [(call["name"], call["args"]) for call in called.tool_calls] == [("order_status", {"number": "A7"})]
    entry.says("On its way.")
    result = ToolMessage("A7 is on its way", tool_call_id=called.tool_calls[0]["id"])
    assert (await model.bind_tools([order_status]).ainvoke([*asked, called, result])).content == "On its way."

    entry.says('{"ok":true}')
    assert await model.with_structured_output(Verdict).ainvoke(asked) == Verdict(ok=True)
    embeddings = OpenAIEmbeddings(
        model=EMBEDDER, http_async_client=entry.http, check_embedding_ctx_length=False, **common
    )
    assert (await embeddings.aembed_documents(["one", "two"]))[1] == list(map(_single, VECTOR))


async def test_llama_index(entry: Entry) -> None:
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.embeddings.openai import OpenAIEmbedding
    from llama_index.llms.openai_like import OpenAILike

    common: dict[str, Any] = {"api_base": entry.base_url, "api_key": entry.key, "async_http_client": entry.http}
    model = OpenAILike(
        model=MODEL, is_chat_model=True, is_function_calling_model=True, context_window=2048, max_retries=0, **common
    )
    asked = [ChatMessage(role="system", content="Be kind."), ChatMessage(role="user", content="Hello?")]
    answer = await model.achat(asked)
    assert answer.message.content == "Hello there"
    stream = await model.astream_chat(asked)
    assert [part.delta async for part in stream if part.delta] == ["Hello", " there"]

    entry.says(CALL)
    tool = FunctionTool.from_defaults(order_status)
    called = await model.achat_with_tools([tool], user_msg="Where is A7?", tool_required=True)
    (call,) = model.get_tool_calls_from_response(called)
    assert (call.tool_name, call.tool_kwargs) == ("order_status", {"number": "A7"})

    entry.says('<tool_call>{"name": "Verdict", "arguments": {"ok": true}}</tool_call>')
    assert (await model.as_structured_llm(Verdict).achat(asked)).raw == Verdict(ok=True)
    embedding = OpenAIEmbedding(model_name=EMBEDDER, **common)
    assert (await embedding.aget_text_embedding("one")) == list(map(_single, VECTOR))


def _single(number: float) -> float:
    """The number as 32 bits hold it."""
    return array("f", [number])[0]
