"""A Chromium for the tests of the page: found, or installed where that is allowed, or said to be missing."""

import os
import shutil
import subprocess

import pytest

NAMES = ("chromium-headless-shell", "chromium", "google-chrome", "chrome")
PACKAGE = "chromium-headless-shell"


def chromium() -> str:
    """The path of a Chromium; `CHROMIUM` names one of your own. Fails the test when there is none to be had."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    found = _find()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _install()
        found = _find()
    if found is None:
        pytest.fail(f"no Chromium found: install Debian's `{PACKAGE}`, or name one in CHROMIUM", pytrace=False)
    return found


def _find() -> str | None:
    return next((path for path in map(shutil.which, NAMES) if path), None)


def _install() -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", PACKAGE]):
        subprocess.run(command, env=environment, check=False, capture_output=True, timeout=600)
