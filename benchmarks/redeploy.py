"""Redeploys under load: `python -m benchmarks.redeploy --times 3`, against the stack that runs here.

While `deskmesh deployments deploy` changes a setting of the model back and forth, conversations go on all the time:
each asks the router, streams an answer from the replica it names, and asks for a count of tokens. Nothing may fail, and
every stream must end with its last frame. A failure that the contract calls retryable counts as one all the same.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc.aio
import yaml

from deskmesh.inference.v1 import (
    chat_pb2,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from deskmesh_cli.operator import inference
from laptop.settings import StackSettings

COMMAND = Path(sys.executable).parent / "deskmesh"


class Load:
    """Conversations that go on until they are stopped."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._router: Any = router_service_pb2_grpc.RouterServiceStub(channel)
        self._inference: Any = inference_service_pb2_grpc.InferenceServiceStub(channel)
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.replicas: Counter[str] = Counter()
        self.longest_seconds = 0.0

    async def converse(self, key: str, stop: asyncio.Event) -> None:
        """One conversation, turn after turn."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                await self._turn(key)
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{key}: {error.code().name} {error.details()}")
                await asyncio.sleep(0.2)
            self.longest_seconds = max(self.longest_seconds, time.monotonic() - began)

    async def _turn(self, key: str) -> None:
        request = router_service_pb2.RouteRequest(affinity_key=key, prompt_tokens=20, completion_tokens=24)
        route = await self._router.Route(request, timeout=30)
        self.counts["unary"] += 1
        self.replicas[route.replica] += 1
        metadata = (("x-deskmesh-replica", route.replica), ("x-deskmesh-model", route.model.name))
        chat = inference_service_pb2.ChatRequest(
            model=route.model.name,
            messages=[chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content="Tell me about tents.")],
            sampling=chat_pb2.Sampling(max_tokens=24),
        )
        last = None
        async for frame in self._inference.Chat(chat, timeout=120, metadata=metadata):
            last = frame.WhichOneof("frame")
        if last == "finished":
            self.counts["streams"] += 1
        else:
            self.failures.append(f"{key}: a stream ended with {last}")
        count = inference_service_pb2.CountTokensRequest(model=route.model.name, texts=["Tell me about tents."])
        await self._inference.CountTokens(count, timeout=30, metadata=metadata)
        self.counts["unary"] += 1


def changed(target: Path, turn: int) -> str:
    """The target with a setting that makes another version of its first model."""
    content = yaml.safe_load(target.read_text())
    content["models"][0]["max_queued_requests"] = content["models"][0].get("max_queued_requests", 64) + 1 + turn % 2
    return yaml.safe_dump(content, sort_keys=False)


def deploy(file: Path) -> subprocess.CompletedProcess[str]:
    """Deploy a file and wait for its end."""
    command = [str(COMMAND), "deployments", "deploy", str(file), "--wait", "--json", "--reason", "benchmark"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)


async def measure(times: int, conversations: int, target: Path) -> dict[str, Any]:
    """Redeploy so often under load; what came of it."""
    deployments = []
    async with inference() as channel:
        load, stop = Load(channel), asyncio.Event()
        running = [asyncio.create_task(load.converse(f"conversation-{index}", stop)) for index in range(conversations)]
        with tempfile.TemporaryDirectory() as folder:
            for turn in range(times):
                file = Path(folder) / f"{target.stem}-{turn}.yaml"
                file.write_text(changed(target, turn))
                began = time.monotonic()
                done = await asyncio.to_thread(deploy, file)
                ended = json.loads(done.stdout)
                entry = {"seconds": round(time.monotonic() - began, 1), "exit": done.returncode}
                deployments.append(entry | {"state": ended.get("state", ended), "failure": ended.get("failure", "")})
                print(json.dumps(deployments[-1]), file=sys.stderr, flush=True)
        # The last old version leaves under load as well.
        await asyncio.sleep(15)
        stop.set()
        await asyncio.gather(*running)
    return {
        "deployments": deployments,
        "calls": dict(load.counts),
        "failures": load.failures,
        "longest_turn_seconds": round(load.longest_seconds, 1),
        "replicas": len(load.replicas),
    }


def main() -> int:
    """Measure and print; 0 when nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--conversations", type=int, default=3)
    options = parser.parse_args()
    target = StackSettings().inference_config
    found = asyncio.run(measure(options.times, options.conversations, target))
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")
    good = all(one["exit"] == 0 for one in found["deployments"])
    return 0 if good and not found["failures"] else 1


if __name__ == "__main__":
    sys.exit(main())
