"""Make the virtual environment and install exactly the locked packages. Needs only the standard library."""

import pathlib
import subprocess
import sys
import time
import venv
from collections import deque

ENVIRONMENT = pathlib.Path(".venv")
PYTHON = ENVIRONMENT / "bin" / "python"
LOCK = pathlib.Path("requirements.lock")
SHOWN_EVERY_SECONDS = 10.0


def pip(*arguments: str, packages: int) -> None:
    """Run `pip install` and tell how far it is; on failure its last lines. Exits when pip fails."""
    command = [str(PYTHON), "-m", "pip", "install", "--no-deps", "--no-compile", "--disable-pip-version-check"]
    command += ["--progress-bar=off"]
    last: deque[str] = deque(maxlen=30)
    collected, shown = 0, time.monotonic()
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
    ) as process:
        for line in process.stdout or ():
            last.append(line)
            collected += line.startswith(("Collecting ", "Requirement already satisfied"))
            if time.monotonic() - shown > SHOWN_EVERY_SECONDS or line.startswith("Installing collected"):
                shown = time.monotonic()
                doing = "unpacking" if line.startswith("Installing collected") else "fetching"
                print(f"  {doing}: {collected} of {packages}", flush=True)
    if process.returncode:
        sys.exit(
            f"{''.join(last)}\npip ended with {process.returncode}. "
            "If it found no torch: install PyTorch's CPU build first, as the README says."
        )


def compile_bytecode() -> None:
    """Compile what was installed on all cores, which pip does on one. Packages' own tests are left out."""
    print("  compiling", flush=True)
    packages = next(ENVIRONMENT.glob("lib/python*"))
    command = [str(PYTHON), "-m", "compileall", "-qq", "-j0", "-x", "/tests?/", str(packages)]
    # Templates among the packages are no valid Python: that says nothing about the rest.
    subprocess.run(command, check=False)


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (runs before anything else has checked)
        sys.exit(f"Deskmesh needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    started = time.monotonic()
    print("Installing Python packages (about 3.6 GB, usually 3–6 minutes the first time)", flush=True)
    pip("-r", str(LOCK), packages=len(LOCK.read_text().splitlines()))
    # Editable, so that the checkout, the clients and the generated stubs are importable where they stand.
    pip("--no-build-isolation", "-e", ".", packages=1)
    compile_bytecode()
    print(f"Python packages are installed ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
