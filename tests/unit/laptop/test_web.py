"""The server of the web app's files."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client import CollectorRegistry

from laptop.web import application, site


@pytest_asyncio.fixture
async def client(tmp_path: Path) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    site = tmp_path / "dist"
    (site / "assets").mkdir(parents=True)
    (site / "index.html").write_text("<!doctype html>page")
    (site / "docs").mkdir()
    (site / "docs" / "index.html").write_text("<!doctype html>reference")
    (site / "favicon.svg").write_text("<svg/>")
    (site / "assets" / "index-Ab12_xYz.js").write_text("plain")
    (site / "assets" / "index-Ab12_xYz.js.br").write_bytes(b"packed")
    (tmp_path / "secret.txt").write_text("secret")
    async with TestClient(TestServer(application(site, CollectorRegistry())), auto_decompress=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/index.html", "/tickets/42", "/articles/returns"])
async def test_pages_are_the_app_and_are_asked_for_again(client: TestClient, path: str) -> None:  # type: ignore[type-arg]
    async with client.get(path) as response:
        assert response.status == 200
        assert await response.text() == "<!doctype html>page"
        assert response.headers["Content-Type"].startswith("text/html")
        assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs/index.html"])
async def test_a_folder_has_a_page_of_its_own(client: TestClient, path: str) -> None:  # type: ignore[type-arg]
    async with client.get(path) as response:
        assert await response.text() == "<!doctype html>reference"


async def test_hashed_assets_are_kept_for_ever_and_come_packed(client: TestClient) -> None:  # type: ignore[type-arg]
    async with client.get("/assets/index-Ab12_xYz.js", headers={"Accept-Encoding": "gzip, br"}) as response:
        assert response.headers["Content-Encoding"] == "br"
        assert "javascript" in response.headers["Content-Type"]
        assert "immutable" in response.headers["Cache-Control"]
        assert await response.read() == b"packed"
    async with client.get("/assets/index-Ab12_xYz.js", headers={"Accept-Encoding": "identity"}) as response:
        assert await response.read() == b"plain"


@pytest.mark.parametrize("path", ["/assets/gone-12345678.js", "/robots.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt"])
async def test_what_does_not_exist_is_not_found(client: TestClient, path: str) -> None:  # type: ignore[type-arg]
    async with client.get(path) as response:
        assert response.status == 404


async def test_without_a_build_it_says_so(tmp_path: Path) -> None:
    async with (
        TestClient(TestServer(application(tmp_path / "nothing", CollectorRegistry()))) as client,
        client.get("/") as response,
    ):
        assert response.status == 503
        assert "make setup" in await response.text()


async def test_behind_a_meshs_proxy_it_stands_on_loopback_only(tmp_path: Path) -> None:
    runner = web.AppRunner(application(tmp_path, CollectorRegistry()))
    await runner.setup()
    for at in ("0.0.0.0:8080", "10.1.2.3:8080"):
        with pytest.raises(ValueError, match="loopback"):
            site(runner, at)
    await site(runner, "127.0.0.1:0").start()
    assert runner.addresses[0][0] == "127.0.0.1"
    await runner.cleanup()
