"""P12: what the chat page weighs and how it fares: script, Lighthouse, axe-core; at 1280 and 390 px, light and dark.

`clients/web/scripts/audit.mjs` drives a Chromium through the pages of a stack of the benchmark's own: as a customer who
asks and opens a source, as an agent with a ticket. Script counts as it is sent, gzipped, everything that was loaded on
the customer's way. It needs a Chromium (`CHROMIUM` names one) and installs Lighthouse beside the script at first.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import Result, machine, report
from benchmarks.stack import EDGE_PORT, deskmesh, state_folder

SCRIPTS = Path(__file__).parents[1] / "clients" / "web" / "scripts"
AUDIT_SECONDS = 1800


def audit(home: Path) -> dict[str, Any]:
    """What the audit found, whether or not it met the limits. Exits with its words when it broke off."""
    people = {user["role"]: user for user in json.loads((home / "secrets" / "demo.json").read_text())["users"]}
    customer, agent = people["customer"], people["agent"]
    done = subprocess.run(
        ["node", "audit.mjs", f"https://localhost:{EDGE_PORT}", customer["email"], customer["password"]],
        cwd=SCRIPTS,
        env=os.environ | {"AGENT_EMAIL": agent["email"], "AGENT_PASSWORD": agent["password"]},
        stdout=subprocess.PIPE,
        text=True,
        timeout=AUDIT_SECONDS,
        check=False,
    )
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        sys.exit(f"the audit broke off with status {done.returncode}: {done.stdout}")
    return found


def main() -> None:
    if not (SCRIPTS / "node_modules" / "lighthouse").is_dir():
        subprocess.run(["npm", "install"], cwd=SCRIPTS, stdout=subprocess.DEVNULL, check=True)
    with state_folder() as home:
        deskmesh(home, "up")
        found = audit(home)
    limit = found["limits"]["script_gzip_bytes"]
    ratio = round(found["script_gzip_bytes"] / limit, 3)
    report(
        Result(
            name=found.pop("name"),
            value=found.pop("script_gzip_bytes"),
            unit="bytes of script, gzipped",
            baseline=limit,
            ratio=ratio,
            n=found.pop("lighthouse_runs"),
            spread=(ratio, ratio),
            machine=machine(),
            details={"baseline_is": "the target, 200 kB", **found},
        )
    )


if __name__ == "__main__":
    main()
