"""P3: what every interceptor costs a unary RPC, against a bare `grpc.aio` echo; directly and through Envoy.

Both sides are servers of their own over mutual TLS that answer the same calls, with an access token, to the same load
generator, this process. A rate is RPCs per CPU second of the server alone, with all its threads. "full" samples one
trace in a hundred, "traced" all of them; both export to a real collector, and count the person's calls in a real
Valkey.
"""

import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc.aio

from benchmarks.harness import alternate, compare, cpu_seconds, report
from benchmarks.support.echo_proxy import running_proxy
from services.common.tls import Material, channel_credentials
from tests.support.echo import EchoRequest, EchoStub
from tests.support.pki import TestPki, TokenIssuer
from tests.support.valkey import running_valkey

SIDES = ("bare", "full", "traced")
PAIRS = 60
CALLS = 800
CONCURRENCY = 16
START_SECONDS = 30.0


class Bench:
    """The servers that are compared, and how to load them."""

    def __init__(self, folder: Path, pki: TestPki, token: str, redis_url: str) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._headers = (("authorization", f"Bearer {token}"),)
        files = pki.files("edge")
        self._material = Material(
            files["tls_key_file"].read_bytes(), files["tls_cert_file"].read_bytes(), files["tls_ca_file"].read_bytes()
        )
        self.pids: dict[str, int] = {}

    @asynccontextmanager
    async def server(self, side: str) -> AsyncIterator[int]:
        """Run one side in a process of its own; yields its port."""
        arguments = ("-m", "benchmarks.support.echo_server", str(self._folder), side, self._redis_url)
        process = await asyncio.create_subprocess_exec(sys.executable, *arguments)
        try:
            self.pids[side] = process.pid
            yield int(await _written(self._folder / f"{side}.port"))
        finally:
            process.kill()
            await process.wait()

    def load(self, side: str, port: int, server_name: str) -> Callable[[], Awaitable[float]]:
        """A measurement: many calls, a few at a time; RPCs per CPU second of the server."""
        options = [("grpc.ssl_target_name_override", server_name), ("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", channel_credentials(self._material), options)
        echo: Any = EchoStub(channel).Echo
        request = EchoRequest(text="how long do I have to send something back?")

        async def calls() -> None:
            for _ in range(CALLS // CONCURRENCY):
                await echo(request, metadata=self._headers, timeout=30)

        async def measure() -> float:
            before = cpu_seconds(self.pids[side])
            await asyncio.gather(*(calls() for _ in range(CONCURRENCY)))
            return CALLS / (cpu_seconds(self.pids[side]) - before)

        return measure


async def _written(file: Path) -> str:
    for _ in range(int(START_SECONDS / 0.1)):
        await asyncio.sleep(0.1)
        with suppress(FileNotFoundError):
            if content := await asyncio.to_thread(file.read_text):
                return content
    raise TimeoutError(f"{file.name} was not written")


async def main() -> None:
    """Measure, print and keep both results."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p3-")))
        pki, issuer = TestPki(folder / "pki"), TokenIssuer()
        runner = await issuer.serve(folder / "jwks.sock")
        stack.push_async_callback(runner.cleanup)
        arguments = ("laptop.trace_collector", *(str(folder / name) for name in ("traces.sock", "traces", "ops.sock")))
        collector = await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments)
        stack.push_async_callback(collector.wait)
        stack.callback(collector.kill)
        token = issuer.token(organization_id="org_1", user_id="usr_1", roles=("agent",), exp=4_000_000_000)
        bench = Bench(folder, pki, token, stack.enter_context(running_valkey()))
        ports = {side: await stack.enter_async_context(bench.server(side)) for side in SIDES}

        direct = {side: bench.load(side, port, "tickets") for side, port in ports.items()}
        pairs = await alternate(direct["full"], direct["bare"], pairs=PAIRS)
        traced = await alternate(direct["traced"], direct["bare"], pairs=5)
        report(
            compare(
                "P3_interceptors",
                "RPC per server CPU second",
                pairs,
                target=0.85,
                ratio_all_traced=round(statistics.median(one / other for one, other in traced), 4),
                calls_a_measurement=CALLS,
                concurrency=CONCURRENCY,
            )
        )
        envoy_pid, through = await stack.enter_async_context(
            running_proxy(folder, pki, {side: ports[side] for side in ("bare", "full")})
        )
        proxied = {side: bench.load(side, port, "edge") for side, port in through.items()}
        before = cpu_seconds(envoy_pid)
        pairs = await alternate(proxied["full"], proxied["bare"], pairs=PAIRS)
        envoy_microseconds = (cpu_seconds(envoy_pid) - before) / (2 * (PAIRS + 1) * CALLS) * 1e6
        report(
            compare(
                "P3_interceptors_envoy",
                "RPC per server CPU second",
                pairs,
                target=0.80,
                envoy_cpu_microseconds_a_call=round(envoy_microseconds, 1),
                calls_a_measurement=CALLS,
                concurrency=CONCURRENCY,
            )
        )


if __name__ == "__main__":
    asyncio.run(main())
