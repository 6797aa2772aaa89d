"""The supervisor answers for the metrics of everything it runs, the stores among them."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from laptop.metrics import stores
from laptop.metrics.server import MetricsServer
from laptop.probes import UnixSocketProbe
from laptop.settings import PROJECT_ROOT, StackSettings
from laptop.specs import MetricsEndpoint, ProcessSpec
from laptop.supervisor import Supervisor
from tests.support.postgres import Postgres


@pytest_asyncio.fixture
async def metrics(postgres: Postgres, redis_url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A supervisor of one web server and of a process without metrics, beside stores one of which is away."""
    with tempfile.TemporaryDirectory(prefix="dm-") as folder:
        settings = StackSettings(home=Path(folder))
        settings.paths.create()
        pages, ops = settings.paths.socket("web"), settings.paths.socket("web.ops")
        web = ProcessSpec(
            name="web",
            argv=(sys.executable, "-m", "laptop.web", str(pages), folder, str(ops)),
            ready=UnixSocketProbe(ops),
            metrics=(MetricsEndpoint(str(ops.with_name("web.op?.sock"))), MetricsEndpoint("127.0.0.1:1")),
            working_folder=PROJECT_ROOT,
        )
        mute = ProcessSpec(name="mute", argv=(sys.executable, "-c", "import signal; signal.pause()"))
        supervisor = Supervisor((web, mute), settings.paths)
        supervisor.start()
        gathers = {
            "postgres": stores.postgres(postgres.admin_url),
            "valkey": stores.valkey(redis_url),
            "away": stores.valkey(f"unix://{folder}/nothing.sock"),
        }
        server = MetricsServer(supervisor, (web, mute), gathers)
        await server.start(settings.paths.metrics_socket)
        async with asyncio.timeout(30):
            while not supervisor.status(measure=False)["ready"]:
                await supervisor.wait_change(1)
        connector = aiohttp.UnixConnector(path=str(settings.paths.metrics_socket))
        async with aiohttp.ClientSession("http://localhost", connector=connector) as session:
            yield session
        await server.stop()
        await supervisor.stop()


async def read(session: aiohttp.ClientSession, path: str) -> dict[tuple[str, str], float]:
    async with session.get(path) as response:
        assert response.status == 200
        text = await response.text()
    return {
        (sample.name, sample.labels["process"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_every_process_has_its_metrics(metrics: aiohttp.ClientSession) -> None:
    found = await read(metrics, "/metrics")
    assert found[("deskmesh_process_up", "web")] == 1
    assert found[("deskmesh_process_up", "mute")] == 1
    assert found[("deskmesh_process_restarts_total", "web")] == 0
    assert found[("deskmesh_process_resident_memory_bytes", "web")] > 0
    assert found[("deskmesh_process_metrics_up", "web")] == 0, "one of its two endpoints does not answer"
    assert ("deskmesh_process_metrics_up", "mute") not in found
    assert found[("process_resident_memory_bytes", "web")] > 0
    assert found[("process_resident_memory_bytes", "supervisor")] > 0
    assert found[("deskmesh_stack_ready", "supervisor")] == 1


async def test_the_stores_are_spoken_for(metrics: aiohttp.ClientSession) -> None:
    found = await read(metrics, "/metrics")
    assert found[("deskmesh_postgres_up", "postgres")] == 1
    assert found[("deskmesh_postgres_bytes", "postgres")] > 1_000_000
    assert found[("deskmesh_postgres_commits_total", "postgres")] > 0
    assert found[("deskmesh_valkey_up", "valkey")] == 1
    assert found[("deskmesh_valkey_used_memory", "valkey")] > 0
    assert found[("deskmesh_valkey_up", "away")] == 0


async def test_one_process_can_be_asked_for(metrics: aiohttp.ClientSession) -> None:
    found = await read(metrics, "/metrics/web")
    assert {process for _, process in found} == {"web"}
    assert {name for name, _ in await read(metrics, "/metrics/mute")} >= {"deskmesh_process_up"}
    assert ("deskmesh_postgres_up", "postgres") in await read(metrics, "/metrics/postgres")
    async with metrics.get("/metrics/nobody") as response:
        assert response.status == 404


@pytest.mark.parametrize("url", ["postgresql://nobody@/none?host=/nonexistent"])
async def test_a_database_that_is_away_is_down(url: str) -> None:
    (up,) = await stores.postgres(url)()
    assert up.samples[0].value == 0
