"""What Kubernetes asks a process, and how."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from services.common.ops import OpsServer
from services.common.probe import answers


@pytest_asyncio.fixture
async def ops(tmp_path: Path) -> AsyncIterator[OpsServer]:
    server = OpsServer(tmp_path / "ops.sock", CollectorRegistry())
    await server.start()
    yield server
    await server.stop()


async def test_a_store_that_is_away_takes_no_process_out_of_its_work(ops: OpsServer, tmp_path: Path) -> None:
    async def is_away() -> None:
        raise OSError("away")

    async def asked() -> list[bool]:
        paths = ("/healthz", "/serving", "/readyz", "/nothing")
        return [await asyncio.to_thread(answers, str(tmp_path / "ops.sock"), path) for path in paths]

    assert await asked() == [True, False, False, False]
    ops.serving = True
    assert await asked() == [True, True, True, False]
    ops.add_check("store", is_away)
    assert await asked() == [True, True, False, False]


async def test_it_runs_without_any_package(ops: OpsServer, tmp_path: Path) -> None:
    async def ends(socket: str) -> int | None:
        options = ("-S", "-m", "services.common.probe", socket, "/healthz")
        process = await asyncio.create_subprocess_exec(sys.executable, *options, stderr=asyncio.subprocess.DEVNULL)
        return await process.wait()

    assert await ends(str(tmp_path / "ops.sock")) == 0
    assert await ends(str(tmp_path / "gone.sock")) == 1


async def test_a_server_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        answers(str(tmp_path / "gone.sock"), "/healthz")
