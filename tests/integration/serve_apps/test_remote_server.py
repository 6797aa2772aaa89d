"""The adapter for OpenAI-compatible endpoints against a server that others wrote: vLLM's own, with the real model."""

import asyncio
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from serve_apps.assistant.chat import Ended, answer_with_tools
from serve_apps.assistant.config import EndpointSource
from serve_apps.assistant.engine_config import RemoteEngineConfig, VllmEngineConfig
from serve_apps.assistant.engines.base import Constraint, Delta, EngineLoad, Finished, Message, Prompt, Role
from serve_apps.assistant.engines.remote import RemoteEngine
from serve_apps.assistant.engines.vllm import environment
from serve_apps.assistant.errors import ModelUnavailable
from serve_apps.assistant.models import cache_folder
from serve_apps.assistant.prepare_models import MODEL, prepare, unpack
from serve_apps.assistant.tools import Toolbox
from services.common.errors import InvalidInput

START_SECONDS = 240

# The server takes as long to start as all of a stack.
pytestmark = pytest.mark.nightly


@dataclass(frozen=True)
class Server:
    """A running server and its key."""

    url: str
    key: str
    process: "subprocess.Popen[bytes]"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = cache_folder() / MODEL
    prepare(folder, unpack)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key = secrets.token_hex(16)
    scratch = tmp_path_factory.mktemp("server")
    config = VllmEngineConfig(kind="vllm", compiled=False, threads=1, kv_cache_mebibytes=96)
    options = {
        "model": str(folder),
        "served-model-name": "large",
        "host": "127.0.0.1",
        "port": str(port),
        "dtype": "float32",
        "max-model-len": "1024",
        "max-num-seqs": "4",
        "kv-cache-memory-bytes": str(96 << 20),
        "gpu-memory-utilization": "0.3",
        "distributed-executor-backend": "uni",
    }
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    # The key goes by environment, so that no list of processes shows it.
    variables = os.environ | environment(config, scratch, loopback=True) | {"VLLM_API_KEY": key}
    log = scratch / "server.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, env=variables, stdout=stream, stderr=stream, start_new_session=True)
    try:
        _await(f"http://127.0.0.1:{port}/health", process, log)
        yield Server(f"http://127.0.0.1:{port}/v1", key, process)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the server with its engine, which would live on without it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=30)


def _await(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    with httpx.Client(trust_env=False) as client:
        while True:
            try:
                if client.get(url).is_success:
                    return
            except httpx.TransportError:
                pass
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < until, log.read_text(errors="replace")[-3000:]
            time.sleep(0.25)


def engine_for(server: Server, folder: Path, key: str, **config: float) -> RemoteEngine:
    file = folder / "key"
    file.write_text(f"{key}\n")
    source = EndpointSource.model_validate(
        {"kind": "endpoint", "url": server.url, "model": "large", "key_file": str(file)}
    )
    return RemoteEngine(source, RemoteEngineConfig.model_validate({"kind": "remote", **config}))


@pytest_asyncio.fixture
async def engine(server: Server, tmp_path: Path) -> AsyncIterator[RemoteEngine]:
    engine = engine_for(server, tmp_path, server.key)
    await engine.start()
    yield engine
    await engine.stop()


def prompt(text: str, max_tokens: int = 8, **more: object) -> Prompt:
    return Prompt((Message(Role.USER, text),), max_tokens=max_tokens, **more)  # type: ignore[arg-type]


async def written(engine: RemoteEngine, asked: Prompt) -> tuple[str, list[Delta], Finished]:
    frames = [frame async for frame in engine.generate(asked)]
    deltas = [frame for frame in frames if isinstance(frame, Delta)]
    assert isinstance(frames[-1], Finished)
    return "".join(delta.text for delta in deltas), deltas, frames[-1]


async def _rest(stream: AsyncIterator[Delta | Finished]) -> None:
    async for _ in stream:
        continue


async def test_an_answer_streams_and_is_counted(engine: RemoteEngine) -> None:
    text, deltas, end = await written(engine, prompt("What is the capital of France?", 16))
    assert "Paris" in text
    assert len(deltas) > 2
    assert end.usage.prompt_tokens > 20
    assert 0 < end.usage.completion_tokens <= 16


async def test_probabilities_stops_and_schemas_go_through(engine: RemoteEngine) -> None:
    _, deltas, _ = await written(engine, prompt("Name a fruit.", 4, log_probabilities=2))
    tokens = [token for delta in deltas for token in delta.log_probabilities]
    assert tokens
    assert all(token.log_probability <= 0 and len(token.alternatives) == 2 for token in tokens)
    whole, _, _ = await written(engine, prompt("Count from one to ten.", 24))
    stop = whole[8:11]
    cut, _, _ = await written(engine, prompt("Count from one to ten.", 24, stop=(stop,)))
    assert cut == whole[: whole.index(stop)]
    schema = '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],"additionalProperties":false}'
    text, _, _ = await written(engine, prompt("Is it?", 40, constraint=Constraint(json_schema=schema)))
    assert isinstance(json.loads(text)["ok"], bool)


async def test_tools_can_be_called(engine: RemoteEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"order": {"type": "string", "enum": ["1234"]}},
        "required": ["order"],
        "additionalProperties": False,
    }
    toolbox = Toolbox([("status", "Looks up an order.", json.dumps(schema))])
    asked = prompt("Where is order 1234?", 60)
    frames = [frame async for frame in answer_with_tools(engine, asked, toolbox, required=True)]
    assert isinstance(frames[-1], Ended)
    assert json.loads(frames[-1].calls[0].arguments) == {"order": "1234"}


async def test_a_prompt_that_is_too_long_is_the_callers_mistake(engine: RemoteEngine) -> None:
    with pytest.raises(InvalidInput):
        await written(engine, prompt("word " * 2000))
    assert engine.load() == EngineLoad()


async def test_a_caller_who_leaves_frees_the_servers_place(engine: RemoteEngine, server: Server) -> None:
    streams = [engine.generate(prompt(f"Tell a very long story {number}.", 900)) for number in range(4)]
    for stream in streams:
        await anext(stream)
    for stream in streams:
        await stream.aclose()
    async with asyncio.timeout(20):
        # All four places were taken; this one needs one of them.
        await written(engine, prompt("Say yes.", 2))


async def test_a_wrong_key_is_unavailable_and_opens_the_breaker(server: Server, tmp_path: Path) -> None:
    engine = engine_for(server, tmp_path, "wrong", failures_to_open=3)
    await engine.start()
    with pytest.raises(ModelUnavailable):
        await written(engine, prompt("Hello"))
    assert engine.load().degraded
    await engine.stop()


async def test_a_server_that_dies_in_the_middle_is_a_typed_failure(engine: RemoteEngine, server: Server) -> None:
    """The last test: the server does not live on."""
    stream = engine.generate(prompt("Tell a very long story.", 900))
    await anext(stream)
    _end(server.process)
    with pytest.raises(ModelUnavailable):
        await _rest(stream)
    with pytest.raises(ModelUnavailable):
        await written(engine, prompt("Hello"))
