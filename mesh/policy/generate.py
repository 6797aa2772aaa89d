"""Writes what follows from the policy options of the protos: `python -m mesh.policy.generate [--check]`.

The manifests under `mesh/istio` and the tables of `docs/policy.md`. With `--check` nothing is written, and what is not
as it would be written is named.
"""

import sys

from mesh.generated import Generated, command
from mesh.istio import layout
from mesh.istio.plan import Plan
from mesh.policy import document
from mesh.policy.table import load_table


def generated() -> Generated:
    """Every generated file."""
    table = load_table()
    owned = tuple(layout.FOLDER / name for name in layout.FOLDERS)
    return Generated({document.PATH: document.render(table), **layout.files(Plan.of(table))}, owned, "its proto")


if __name__ == "__main__":
    sys.exit(command(generated(), __doc__, sys.argv[1:]))
