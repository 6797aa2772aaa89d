"""What the repository itself promises."""

import json
import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_nothing_generated_or_binary_is_committed() -> None:
    pattern = re.compile(
        r"(_pb2(_grpc)?\.pyi?|_pb\.ts|\.pyc|\.gguf|\.safetensors|\.bin)$|(^|/)(gen|node_modules|dist)/"
    )
    assert [path for path in tracked() if pattern.search(path.relative_to(ROOT).as_posix())] == []


def test_no_registry_address_is_committed() -> None:
    addresses = re.compile(r"""(index-url|find-links\s*=|registry\s*=\s*http|"resolved":\s*"http)""")
    here = Path(__file__)
    texts = [path for path in tracked() if path != here and path.suffix not in (".woff2", ".png", ".ico")]
    assert [str(path) for path in texts if addresses.search(path.read_text(errors="ignore"))] == []


def test_the_lock_pins_every_package() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==\S+", line)] == []
    assert json.loads((ROOT / "clients/web/package-lock.json").read_text())["lockfileVersion"] >= 3


def test_the_lock_has_what_the_oldest_python_asks_for_as_well() -> None:
    """The lock is made on one Python and installed without resolving: what only an older one needs would be missing."""
    oldest, newest = ({"python_full_version": version, "extra": ""} for version in ("3.11.0", "3.11.99"))
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked = {canonicalize_name(line.partition("==")[0]) for line in lines}
    asked = {
        canonicalize_name(requirement.name)
        for package in distributions()
        for requirement in map(Requirement, package.requires or ())
        if requirement.marker and requirement.marker.evaluate(oldest) and not requirement.marker.evaluate(newest)
    }
    assert asked
    assert asked - locked == set()


def test_every_error_reason_of_the_code_stands_in_the_contract() -> None:
    proto = (ROOT / "protos/deskmesh/common/v1/error_reason.proto").read_text()
    known = set(re.findall(r"ERROR_REASON_([A-Z_]+) = \d+;", proto))
    used = {
        (path.relative_to(ROOT).as_posix(), reason)
        for folder in ("services", "serve_apps")
        for path in (ROOT / folder).rglob("*.py")
        for reason in re.findall(r'^\s+reason(?:: \S+)? = "([A-Z_]+)"', path.read_text(), re.MULTILINE)
    }
    assert used
    assert {(path, reason) for path, reason in used if reason not in known} == set()
