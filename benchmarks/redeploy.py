"""Redeploys under load: `python -m benchmarks.redeploy --times 3 --bad`, against the stack that runs here.

While `deskmesh deployments deploy` brings version after version of the model, conversations go on all the time:
each asks the router, streams an answer from the replica it names, and asks for a count of tokens; and a customer asks
in the chat, whose turns the version that is tried repeats in its shadow. Nothing may fail, and every stream must end
with its last frame. A failure that the contract calls retryable counts as one all the same.
With `--bad` versions follow that are wrong each in its way; they must be taken back without anybody noticing.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpc.aio
import yaml

from benchmarks.answer_quality import load as questions
from benchmarks.support.bad_versions import BAD, write
from deskmesh.inference.v1 import (
    chat_pb2,
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)
from deskmesh.orchestrator.v1 import turn_pb2
from deskmesh_cli.connection import Person, connected
from deskmesh_cli.operator import inference
from deskmesh_client.errors import DeskmeshError
from laptop.settings import StackSettings
from serve_apps.assistant.config import load_config
from serve_apps.assistant.models import find_weights

COMMAND = Path(sys.executable).parent / "deskmesh"


# As long as somebody takes to read an answer and write again.
READING_SECONDS = 5.0
ANSWERED = {turn_pb2.DECISION_ANSWER, turn_pb2.DECISION_CLARIFY}


class Load:
    """Conversations that go on until they are stopped."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._router: Any = router_service_pb2_grpc.RouterServiceStub(channel)
        self._inference: Any = inference_service_pb2_grpc.InferenceServiceStub(channel)
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.replicas: Counter[str] = Counter()
        self.longest_seconds = 0.0

    def __str__(self) -> str:
        """How it stands."""
        return f"{dict(self.counts)}, {len(self.failures)} failed, {len(self.replicas)} replicas"

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

    async def ask_in_the_chat(self, stop: asyncio.Event) -> None:
        """A customer's questions, each in a conversation of its own."""
        async with connected(Person("customer")) as client:
            for question in itertools.cycle(questions("golden.jsonl")):
                if stop.is_set():
                    return
                try:
                    turn = await client.ask(question["question"])
                    self.counts["turns"] += 1
                    self.counts["turns that found something"] += turn.decision in ANSWERED
                except DeskmeshError as error:
                    self.failures.append(f"a customer: {error}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), READING_SECONDS)

    async def serving(self) -> tuple[str, str]:
        """The replica that a new conversation gets, and the deployment that serves."""
        route = await self._router.Route(router_service_pb2.RouteRequest(prompt_tokens=20), timeout=30)
        _, current = await asyncio.to_thread(deskmesh, "list")
        return route.replica, next(one["id"] for one in current["deployments"] if one.get("current"))

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


def changed(target: Path, *, cache_factor: int = 1, **changes: Any) -> str:
    """The target with another version of its first model, which differs in these fields or just in being another."""
    content = yaml.safe_load(target.read_text())
    model = content["models"][0]
    model["engine"]["kv_cache_mebibytes"] *= cache_factor
    # Read by nobody; but a configuration of its own is a version of its own.
    model.setdefault("environment", {})["REDEPLOYED"] = str(time.time_ns())
    model.update(changes)
    return yaml.safe_dump(content, sort_keys=False)


def deskmesh(*arguments: str) -> tuple[int, Any]:
    """Run the command line; its exit code, and what it printed."""
    command = [str(COMMAND), "deployments", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {"failure": done.stderr[-500:]}


def deploy(content: str, file: Path, reason: str) -> dict[str, Any]:
    """Deploy a target and wait for its end."""
    file.write_text(content)
    began = time.monotonic()
    code, ended = deskmesh("deploy", str(file), "--wait", "--reason", reason)
    entry = {
        "what": reason,
        "seconds": round(time.monotonic() - began, 1),
        "exit": code,
        "id": ended.get("id", ""),
        "state": ended.get("state", ended),
        "failure": ended.get("failure", ""),
        "gates": {gate["name"]: gate.get("explanation", "") for gate in ended.get("gates", ())},
    }
    print(json.dumps(entry, ensure_ascii=False), file=sys.stderr, flush=True)
    return entry


async def deploy_bad(load: Load, target: Path, folder: Path) -> list[dict[str, Any]]:
    """Deploy each bad version; `held` says whether it was taken back for its own reason, and nothing else changed."""
    source = find_weights(load_config(target).models[0].source).name  # type: ignore[arg-type]
    ended = []
    for name, bad in BAD.items():
        weights = folder / name.replace(" ", "-")
        await asyncio.to_thread(write, Path(source), weights, bad)
        before = await load.serving()
        content = changed(target, cache_factor=bad.cache_factor, source={"kind": "path", "path": str(weights)})
        entry = await asyncio.to_thread(deploy, content, folder / f"{weights.name}.yaml", name)
        _, listed = await asyncio.to_thread(deskmesh, "list")
        newest = listed["deployments"][0]
        entry["held"] = (
            entry["state"] == "DEPLOYMENT_STATE_ROLLED_BACK"
            and any(words in entry["failure"] for words in bad.told)
            and (newest["id"], newest["failure"]) == (entry["id"], entry["failure"])
            and await load.serving() == before
        )
        ended.append(entry)
        print(f"held: {entry['held']}; {load}", file=sys.stderr, flush=True)
        await asyncio.to_thread(shutil.rmtree, weights)
    return ended


async def measure(times: int, minutes: float, conversations: int, target: Path, *, bad: bool) -> dict[str, Any]:
    """Redeploy so often under load, or as long, then what should not be deployed; what came of it."""
    deployments: list[dict[str, Any]] = []
    taken_back: list[dict[str, Any]] = []
    async with inference() as channel:
        load, stop = Load(channel), asyncio.Event()
        running = [asyncio.create_task(load.converse(f"conversation-{index}", stop)) for index in range(conversations)]
        running.append(asyncio.create_task(load.ask_in_the_chat(stop)))
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            end = time.monotonic() + minutes * 60
            while len(deployments) < times and time.monotonic() < end:
                turn = f"redeploy {len(deployments) + 1}"
                file = folder / f"{len(deployments)}.yaml"
                deployments.append(await asyncio.to_thread(deploy, changed(target), file, turn))
                print(load, file=sys.stderr, flush=True)
            if bad:
                taken_back = await deploy_bad(load, target, folder)
        # The last version to go leaves under load as well.
        await asyncio.sleep(15)
        stop.set()
        await asyncio.gather(*running)
    return {
        "deployments": deployments,
        "bad": taken_back,
        "calls": dict(load.counts),
        "failures": load.failures,
        "longest_turn_seconds": round(load.longest_seconds, 1),
        "replicas": len(load.replicas),
        "good": all(one["exit"] == 0 for one in deployments)
        and all(one["held"] for one in taken_back)
        and not load.failures,
    }


def main() -> int:
    """Measure and print; 0 when nothing failed, and nothing bad came to serve."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=60, help="after which no further redeploy begins")
    parser.add_argument("--conversations", type=int, default=3)
    parser.add_argument("--bad", action="store_true", help="then versions that must be taken back")
    options = parser.parse_args()
    target = StackSettings().inference_config
    found = asyncio.run(measure(options.times, options.minutes, options.conversations, target, bad=options.bad))
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0 if found["good"] else 1


if __name__ == "__main__":
    sys.exit(main())
