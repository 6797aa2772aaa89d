"""Make the virtual environment and install exactly the locked packages. Needs only the standard library."""

import pathlib
import subprocess
import sys
import time
import venv

ENVIRONMENT = pathlib.Path(".venv")
PYTHON = ENVIRONMENT / "bin" / "python"


def run(*arguments: str) -> None:
    pip = [str(PYTHON), "-m", "pip", "install", "--no-deps", "--disable-pip-version-check"]
    if code := subprocess.run([*pip, *arguments], check=False).returncode:
        sys.exit(f"pip ended with {code}. If it found no torch: install PyTorch's CPU build first, as the README says.")


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (runs before anything else has checked)
        sys.exit(f"Deskmesh needs Python 3.11 or newer; this is {sys.version.split()[0]}.")
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    started = time.monotonic()
    print("Installing Python packages (about 3.6 GB, usually 3–6 minutes the first time)", flush=True)
    run("--quiet", "--progress-bar=on", "-r", "requirements.lock")
    # Editable, so that the checkout, the clients and the generated stubs are importable where they stand.
    run("--quiet", "--no-build-isolation", "-e", ".")
    print(f"Python packages are installed ({time.monotonic() - started:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
