"""Writes the manifests under `mesh/kuberay/targets`: `python -m mesh.kuberay.generate [--check]`.

One file for each target of `serve_apps/configs` that a cluster can run. With `--check` nothing is written, and what is
not as it would be written is named.
"""

import sys
from pathlib import PurePosixPath

from mesh.generated import Generated, command
from mesh.istio.text import as_text
from mesh.kuberay.service import fits, manifests
from serve_apps.assistant.config import load_config
from serve_apps.assistant.settings import CONFIGS

FOLDER = PurePosixPath("mesh/kuberay/targets")
HEADER = "# Written by `python -m mesh.kuberay.generate` from serve_apps/configs/{target}.yaml. Do not edit.\n"


def generated() -> Generated:
    """Every generated file."""
    configs = {file.stem: load_config(file) for file in sorted(CONFIGS.glob("*.yaml"))}
    files = {
        FOLDER / f"{target}.yaml": HEADER.format(target=target) + as_text(manifests(target, config))
        for target, config in configs.items()
        if fits(config)
    }
    return Generated(files, (FOLDER,), "its target")


if __name__ == "__main__":
    sys.exit(command(generated(), __doc__, sys.argv[1:]))
