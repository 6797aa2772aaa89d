"""Run every test, in three runs at once: those of the running stack and of the page leave the machine much to do.

What the longest of them prints is shown as it goes, what the others printed when they are done.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from typing import IO

# These use the whole stack, and so does whatever names its fixture; a test that makes an engine loads a model.
FOLDERS_OF_THE_STACK = ("tests/e2e", "tests/chaos")
SIGNS = ("whole_stack", "VllmEngine(")
COVERED_PERCENT = 85
COVERAGE = (sys.executable, "-m", "coverage")


class Run:
    """A run of tests, whose output goes to a log unless it is shown as it goes."""

    def __init__(self, name: str, command: Sequence[str], folder: str = ".", log: IO[str] | None = None) -> None:
        self._name = name
        self._log = log
        # Each pytest gathers what it covered in a file of its own.
        environment = os.environ | {"COVERAGE_FILE": f".coverage.{name}"}
        self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    def finish(self) -> bool:
        """Wait for the end, show the log, and tell whether all was well."""
        code = self._process.wait()
        if self._log is not None:
            self._log.seek(0)
            sys.stdout.write(self._log.read())
        sys.stdout.write(f"{self._name}: {'all is well' if code == 0 else f'ended with {code}'}\n\n")
        sys.stdout.flush()
        return code == 0


def pytest(*arguments: str) -> Sequence[str]:
    """The command that runs these tests and gathers what they cover."""
    return ("pytest", *arguments, "--cov", "--cov-report=", "--durations=25")


def of_the_stack() -> Sequence[str]:
    """Whatever starts the whole stack or loads a model."""
    files = (path for path in pathlib.Path("tests").rglob("test_*.py") if any(one in path.read_text() for one in SIGNS))
    elsewhere = sorted(str(path) for path in files if not str(path).startswith(FOLDERS_OF_THE_STACK))
    return [*elsewhere, *FOLDERS_OF_THE_STACK]


def others(left_out: Sequence[str]) -> Sequence[str]:
    """All other tests."""
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
    folders: list[str] = project["tool"]["pytest"]["ini_options"]["testpaths"]
    return [folder for folder in folders if folder not in left_out] + [f"--ignore={path}" for path in left_out]


def main() -> int:
    subprocess.run([*COVERAGE, "erase"], check=True)
    stack = of_the_stack()
    with tempfile.TemporaryFile("w+") as log_of_the_page, tempfile.TemporaryFile("w+") as log_of_the_stack:
        runs = [
            Run("others", pytest(*others(stack))),
            Run("stack", pytest(*stack), log=log_of_the_stack),
            Run("page", ("npm", "test", "--silent"), folder="clients/web", log=log_of_the_page),
        ]
        try:
            went_well = [run.finish() for run in runs]
        except KeyboardInterrupt:
            # They were interrupted as well, and take away what they started.
            went_well = [False, *(run.finish() for run in runs)]
    subprocess.run([*COVERAGE, "combine", "--quiet"], check=True)
    reported = subprocess.run([*COVERAGE, "report", f"--fail-under={COVERED_PERCENT}"], check=False)
    return 0 if all(went_well) and reported.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
