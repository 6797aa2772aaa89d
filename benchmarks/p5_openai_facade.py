"""P5: the OpenAI-compatible API against LiteLLM's proxy, before the same simulated model, in the same run.

Both are one process on loopback with a bearer credential checked, driven by this process over kept-alive connections.
LiteLLM forwards to the model by HTTP and keeps no books; ours asks router and model by gRPC over mutual TLS, reserves
before each call and settles after it. The model is simulated: it answers at once, so that what is left is the proxies.
Calls belong to conversations of five. Requests a second are taken 16 at a time; what a proxy adds is the median of
calls one at a time, less that of calls straight to the model.

LiteLLM is installed into an environment of its own in the user's cache at the first run. Of three
packages that are released with it, or daily, it takes what there is, so that it can be had where the newest is not yet.
"""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import yaml

from benchmarks.harness import alternate, compare, report
from benchmarks.support.simulated_model import MODEL
from tests.support.pki import TestPki, TokenIssuer
from tests.support.valkey import running_valkey

LITELLM = "1.109.1"
CACHE = Path("~/.cache/deskmesh/benchmarks").expanduser()
MASTER_KEY = "sk-benchmark"
PAIRS = 5
CALLS = 160
CONCURRENCY = 16
LATENCY_CALLS = 40
START_SECONDS = 300.0
CALLS_A_CONVERSATION = 5


def body(conversation: int) -> dict[str, object]:
    """What is asked in a conversation."""
    question = f"How long do I have to send order {conversation} back?"
    messages = [
        {"role": "system", "content": "You answer customers of a shop."},
        {"role": "user", "content": question},
    ]
    return {"model": MODEL, "messages": messages, "max_tokens": 16}


@dataclass(frozen=True)
class Side:
    """Something that answers completions; `pid` and its children are what is measured."""

    url: str
    key: str
    pid: int

    def cpu(self) -> float:
        """CPU seconds used up to now."""
        process = psutil.Process(self.pid)
        return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


class Load:
    """The load generator."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._conversations = itertools.count()
        self.cpu_milliseconds: dict[str, list[float]] = {}

    async def call(self, side: Side, conversation: int | None = None) -> None:
        """One completion. Raises when it fails."""
        headers = {"authorization": f"Bearer {side.key}"}
        wanted = body(next(self._conversations) if conversation is None else conversation)
        async with self._session.post(side.url, json=wanted, headers=headers) as response:
            answer = await response.json()
            if response.status != 200 or not answer["choices"][0]["message"]["content"]:
                raise RuntimeError(f"{side.url}: {response.status} {answer}")

    def rate(self, side: Side) -> Callable[[], Awaitable[float]]:
        """Measures requests a second."""

        async def some() -> None:
            for number in range(CALLS // CONCURRENCY):
                if number % CALLS_A_CONVERSATION == 0:
                    conversation = next(self._conversations)
                await self.call(side, conversation)

        async def measure() -> float:
            cpu, began = side.cpu(), time.perf_counter()
            await asyncio.gather(*(some() for _ in range(CONCURRENCY)))
            seconds = time.perf_counter() - began
            calls = CALLS // CONCURRENCY * CONCURRENCY
            self.cpu_milliseconds.setdefault(side.url, []).append((side.cpu() - cpu) / calls * 1000)
            return calls / seconds

        return measure

    def added(self, side: Side, straight: Side) -> Callable[[], Awaitable[float]]:
        """Measures what the side adds to a call, in milliseconds; both are called in turns."""

        async def measure() -> float:
            taken: dict[str, list[float]] = {side.url: [], straight.url: []}
            for number in range(LATENCY_CALLS):
                if number % CALLS_A_CONVERSATION == 0:
                    conversation = next(self._conversations)
                for one in (side, straight):
                    began = time.perf_counter()
                    await self.call(one, conversation)
                    taken[one.url].append((time.perf_counter() - began) * 1000)
            return statistics.median(taken[side.url]) - statistics.median(taken[straight.url])

        return measure


def install_litellm() -> Path:
    """The proxy's command, installed unless it is."""
    folder = CACHE / f"litellm-{LITELLM}"
    command, done = folder / "bin" / "litellm", folder / ".installed"
    if not done.exists():
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "pip"), "install", "--quiet"]
        subprocess.run([*pip, "--no-deps", f"litellm=={LITELLM}"], check=True)
        requirements = subprocess.run(
            [str(folder / "bin" / "python"), "-c", _REQUIREMENTS], check=True, capture_output=True, text=True
        ).stdout.split("\n")
        subprocess.run([*pip, *filter(None, requirements)], check=True)
        done.touch()
    return command


_REQUIREMENTS = """
from importlib.metadata import requires
from pip._vendor.packaging.requirements import Requirement
for one in map(Requirement, requires("litellm")):
    if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", "proxy")):
        extras = f"[{','.join(one.extras)}]" if one.extras else ""
        let_go = one.name in ("certifi", "litellm-proxy-extras", "litellm-enterprise")
        print(one.name if let_go else f"{one.name}{extras}{one.specifier}")
"""


@asynccontextmanager
async def running(*arguments: str, **environment: str) -> AsyncIterator[int]:
    """A process until the block ends; yields its id."""
    process = await asyncio.create_subprocess_exec(
        *arguments, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def written(file: Path) -> str:
    """What a process writes when it is ready."""
    deadline = time.monotonic() + START_SECONDS
    while not (text := await asyncio.to_thread(_read, file)):
        if time.monotonic() > deadline:
            raise TimeoutError(file.name)
        await asyncio.sleep(0.05)
    return text


def _read(file: Path) -> str:
    return file.read_text() if file.exists() else ""


async def answering(load: Load, side: Side) -> None:
    """Wait until the side answers."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return await load.call(side)
        except (aiohttp.ClientError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


async def main() -> None:
    command = await asyncio.to_thread(install_litellm)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        TestPki(folder / "pki")
        issuer = TokenIssuer()
        runner = await issuer.serve(folder / "jwks.sock")
        stack.push_async_callback(runner.cleanup)
        token = issuer.token(organization_id="org_1", user_id="usr_1", roles=("ml_engineer",), exp=4_000_000_000)

        async def serve(module: str, *arguments: str) -> int:
            return await stack.enter_async_context(
                running(sys.executable, "-m", f"benchmarks.support.{module}", str(folder), *arguments)
            )

        model_pid = await serve("simulated_model")
        http, inference, usage = (await written(folder / "model.ports")).split()
        valkey_url = stack.enter_context(running_valkey())
        gateway_pid = await serve("openai_gateway", inference, usage, valkey_url)
        gateway = await written(folder / "gateway.port")
        config = folder / "litellm.yaml"
        config.write_text(yaml.safe_dump(litellm_config(http)))
        port = str(int(gateway) + 1)
        litellm_pid = await stack.enter_async_context(
            running(
                str(command), "--config", str(config), "--host", "127.0.0.1", "--port", port, "--num_workers", "1",
                LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR", LITELLM_MODE="PRODUCTION",
            )
        )  # fmt: skip

        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))
        )
        load = Load(session)
        straight = Side(_url(http), "none", model_pid)
        ours = Side(_url(gateway), token, gateway_pid)
        theirs = Side(_url(port), MASTER_KEY, litellm_pid)
        for side in (straight, ours, theirs):
            await answering(load, side)

        pairs = await alternate(load.rate(ours), load.rate(theirs), pairs=PAIRS)
        cpu = {name: round(statistics.median(load.cpu_milliseconds[side.url]), 3) for name, side in
               (("ours", ours), ("litellm", theirs))}  # fmt: skip
        report(
            compare(
                "P5_requests",
                "requests a second",
                pairs,
                target=5.0,
                litellm=LITELLM,
                cpu_milliseconds_a_request=cpu,
                concurrency=CONCURRENCY,
            )
        )
        pairs = await alternate(load.added(ours, straight), load.added(theirs, straight), pairs=PAIRS)
        report(compare("P5_added_p50", "milliseconds", pairs, target=0.25, lower_is_better=True, litellm=LITELLM))


def _url(port: str) -> str:
    return f"http://127.0.0.1:{port}/v1/chat/completions"


def litellm_config(port: str) -> dict[str, object]:
    """LiteLLM as its documentation recommends it for production, without a database."""
    parameters = {"model": f"openai/{MODEL}", "api_base": f"http://127.0.0.1:{port}/v1", "api_key": "none"}
    return {
        "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"set_verbose": False, "json_logs": True, "telemetry": False},
    }


if __name__ == "__main__":
    asyncio.run(main())
