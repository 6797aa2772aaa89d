"""LoRA adapters that do not fit the model.

Stated in advance: what a check can see is refused before anything is touched; what only the engine sees is taken back,
with the adapter's name, while the replicas go on answering; and one that fits is used without a restart.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from deskmesh_client import Client
from serve_apps.assistant.config import load_config
from serve_apps.assistant.models import locate
from serve_apps.assistant.settings import CONFIGS
from tests.support.lora import write_adapter
from tests.support.stack import Stack

TARGET = CONFIGS / "laptop.yaml"
DEPLOY_SECONDS = 900


def target(file: Path, adapters: list[Path], *, rank: int = 8) -> Path:
    """Write the laptop's target, its first model with room for adapters, and these."""
    content = yaml.safe_load(TARGET.read_text())
    model = content["models"][0]
    model["engine"] |= {"max_adapters": 2, "max_adapter_rank": rank}
    model["adapters"] = [{"name": one.name, "source": {"kind": "path", "path": str(one)}} for one in adapters]
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def base_model() -> dict[str, Any]:
    """The configuration of the model that adapters are for."""
    source = load_config(TARGET).models[0].source
    config: dict[str, Any] = json.loads((locate(source) / "config.json").read_text())  # type: ignore[arg-type]
    return config


def deployments(stack: Stack) -> list[str]:
    return [one["id"] for one in stack.deskmesh_json("deployments", "list")["deployments"]]


async def test_what_a_check_can_see_is_refused_before_anything_is_touched(stack: Stack, tmp_path: Path) -> None:
    large = write_adapter(tmp_path / "large", base_model(), rank=64, seed=1)
    before = await asyncio.to_thread(deployments, stack)
    refused = await asyncio.to_thread(
        stack.deskmesh, "deployments", "deploy", str(target(tmp_path / "t.yaml", [large])), "--reason", "too large"
    )
    assert refused.returncode != 0
    assert "large: its rank is 64, the engine takes 8 at most" in refused.stdout + refused.stderr
    assert await asyncio.to_thread(deployments, stack) == before


async def _answers_until(client: Client, stop: asyncio.Event) -> int:
    """Ask again and again; how often it was answered. Raises when once it is not."""
    answered = 0
    while not stop.is_set():
        await client.ask("Do gift cards expire?")
        answered += 1
        await asyncio.sleep(1)
    return answered


@pytest.mark.nightly
@pytest.mark.timeout(2 * DEPLOY_SECONDS)
async def test_adapters_come_and_go_in_running_replicas(stack: Stack, tmp_path: Path) -> None:
    config = base_model()
    fits = write_adapter(tmp_path / "fits", config, rank=8, seed=1)
    crooked = write_adapter(tmp_path / "crooked", config | {"hidden_size": 2 * config["hidden_size"]}, rank=8, seed=1)

    def deploy(*adapters: Path) -> tuple[dict[str, Any], float]:
        file, began = target(tmp_path / f"{time.time_ns()}.yaml", list(adapters)), time.monotonic()
        done = stack.deskmesh(
            "deployments", "deploy", str(file), "--wait", "--json", "--reason", "adapters", timeout=DEPLOY_SECONDS
        )
        return json.loads(done.stdout), time.monotonic() - began

    async with stack.client("customer") as client:
        stop = asyncio.Event()
        asking = asyncio.create_task(_answers_until(client, stop))
        room, _ = await asyncio.to_thread(deploy)
        assert room["state"] == "DEPLOYMENT_STATE_PROMOTED", room
        added, seconds = await asyncio.to_thread(deploy, fits)
        assert (added["state"], added.get("gates", [])) == ("DEPLOYMENT_STATE_PROMOTED", []), added
        assert seconds < 60, "no model was loaded anew"
        bad, _ = await asyncio.to_thread(deploy, fits, crooked)
        assert bad["state"] == "DEPLOYMENT_STATE_ROLLED_BACK", bad
        assert "adapter crooked" in bad["failure"]
        stop.set()
        assert await asking > 0
