"""Run every benchmark, one after the other, each in a process of its own; or only those named.

usage: python -m benchmarks [p1 p3 …]
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main() -> None:
    wanted = tuple(f"{name.lower()}_" for name in sys.argv[1:])
    names = sorted(
        path.stem for path in FOLDER.glob("*.py") if path.stem not in ("__init__", "__main__", "harness", "stack")
    )
    failed = []
    for name in names:
        if wanted and not f"{name}_".startswith(wanted):
            continue
        print(f"--- {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
