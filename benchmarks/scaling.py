"""How the number of replicas follows the load, with the laptop's real model: 1 → 2 → 1, then 1 → 0 → 1.

Router, Envoy, autoscaling policy and vLLM are those of the stack; the file is the laptop's with other bounds. Ten users
ask without pause until there are two replicas and both have served, then nobody asks until there is none, then one
request is sent and held until a replica has started for it. Printed as it happens, kept in
`benchmarks/results/scaling.json`; no request may fail.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import yaml
from google.protobuf.duration_pb2 import Duration

from benchmarks.harness import RESULTS_FOLDER, machine
from benchmarks.support.models import REPLICA_METADATA, Models, running_models
from deskmesh.inference.v1 import chat_pb2, inference_service_pb2, router_service_pb2
from serve_apps.assistant.settings import CONFIGS

USERS = 10
TOKENS = 60
BOUNDS = {
    "min_replicas": 0,
    "max_replicas": 2,
    "target_running": 4,
    "upscale_delay_seconds": 0.5,
    "downscale_delay_seconds": 8,
}
START_SECONDS = 240.0


@dataclass
class Course:
    """What happened, with seconds since the load began."""

    began: float = field(default_factory=time.monotonic)
    events: list[dict[str, Any]] = field(default_factory=list)
    ready: int = 0
    served: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    # Two replicas have answered.
    both: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, replica: str) -> None:
        self.served[replica] += 1
        if len(self.served) > 1:
            self.both.set()

    def tell(self, event: str, **details: object) -> None:
        self.events.append({"second": round(time.monotonic() - self.began, 1), "event": event, **details})
        print(json.dumps(self.events[-1]), flush=True)


def target(folder: Path) -> Path:
    """The laptop's file with one core a replica and bounds that let a minute show something."""
    content = yaml.safe_load((CONFIGS / "laptop.yaml").read_text())
    (model,) = content["models"]
    model["engine"] |= {"threads": 1, "kv_cache_mebibytes": 192}
    model["autoscaling"] = BOUNDS
    del content["embedder"]
    file = folder / "scaling.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


async def ask(models: Models, text: str, seconds: float) -> str:
    """Wait in the router, then have the answer written; the replica that did. Raises AioRpcError."""
    route = router_service_pb2.RouteRequest(within=Duration(seconds=int(seconds)), completion_tokens=TOKENS)
    request = router_service_pb2.RouteQueuedRequest(route=route)
    replica = name = ""
    async for frame in models.router.RouteQueued(request, timeout=seconds):
        replica, name = frame.routed.replica, frame.routed.model.name
    asked = inference_service_pb2.ChatRequest(
        model=name,
        messages=[chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=text)],
        sampling=chat_pb2.Sampling(max_tokens=TOKENS),
    )
    metadata = ((REPLICA_METADATA, replica), ("x-deskmesh-model", name))
    async for _ in models.inference.Chat(asked, metadata=metadata, timeout=seconds):
        continue
    return replica


async def watch(models: Models, course: Course) -> None:
    """Tell each decision with its inputs."""
    async for told in models.operator.WatchScaling(router_service_pb2.WatchScalingRequest()):
        one = told.decision
        course.tell(
            "decision",
            replicas=f"{one.from_replicas} → {one.to_replicas}",
            running=one.running,
            waiting=one.waiting,
            kv_cache_usage=round(one.kv_cache_usage, 3),
            wanted_for_seconds=round(one.wanted_for_seconds, 1),
            reason=one.reason,
        )


async def replicas(models: Models, course: Course, number: int) -> None:
    """Return once there are so many. Raises TimeoutError."""
    async with asyncio.timeout(START_SECONDS):
        while course.ready != number:
            status = (await models.router.ListModels(router_service_pb2.ListModelsRequest())).models[0]
            if len(status.replicas) != course.ready:
                course.ready = len(status.replicas)
                course.tell("replicas", ready=course.ready)
            await asyncio.sleep(0.25)


async def user(models: Models, course: Course, number: int, stop: asyncio.Event) -> None:
    turn = 0
    while not stop.is_set():
        turn += 1
        try:
            course.answered(await ask(models, f"Story {number}-{turn}: write a long story.", START_SECONDS))
        except grpc.aio.AioRpcError as error:
            course.errors.append(f"{error.code().name}: {error.details()}")
            await asyncio.sleep(1)


async def run(models: Models) -> Course:
    course, stop = Course(), asyncio.Event()
    watching = asyncio.create_task(watch(models, course))
    course.tell("load begins", users=USERS)
    users = [asyncio.create_task(user(models, course, number, stop)) for number in range(USERS)]
    await replicas(models, course, 2)
    async with asyncio.timeout(START_SECONDS):
        await course.both.wait()
    stop.set()
    await asyncio.gather(*users)
    course.tell("load ends", served=sum(course.served.values()), by_replica=sorted(course.served.values()))
    await replicas(models, course, 1)
    await replicas(models, course, 0)
    course.tell("one request")
    began = time.monotonic()
    await ask(models, "Are you awake?", START_SECONDS)
    course.tell("answered", after_seconds=round(time.monotonic() - began, 1))
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    return course


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="dm-scale") as folder:
        async with running_models(target(Path(folder))) as models:
            course = await run(models)
    result = {
        "bounds": BOUNDS,
        "events": course.events,
        "served": sorted(course.served.values()),
        "errors": course.errors,
        "machine": machine(),
    }
    RESULTS_FOLDER.mkdir(exist_ok=True)
    (RESULTS_FOLDER / "scaling.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return 1 if course.errors else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
