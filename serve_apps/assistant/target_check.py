"""Whether a target's file can take the place of what runs: checked before anything is started."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from serve_apps.assistant import yaml_file
from serve_apps.assistant.config import ConfigError, EndpointSource, HubSource, ModelConfig, TargetConfig
from serve_apps.assistant.engine_config import VllmEngineConfig
from serve_apps.assistant.engines.adapters import CONFIG, find_problem
from serve_apps.assistant.models import locate
from serve_apps.assistant.versions import version_of, versions_of

# A vLLM process without weights and cache, as measured on a CPU.
PROCESS_MEBIBYTES = 1400
ARGUMENTS_SECONDS = 90


@dataclass
class Findings:
    """What is wrong, a line each, and what should be known; versions by model."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def check_target(file: str, text: str, running: TargetConfig) -> Findings:
    """Check a file against what runs. It starts a process that asks vLLM about its arguments, and waits for that."""
    found = Findings()
    try:
        config = yaml_file.parse(text, TargetConfig, file)
    except ConfigError as error:
        found.problems += str(error).splitlines()
        return found
    found.versions = versions_of(config.models)
    present = set(versions_of(running.models).values())
    new = [model for model in config.models if version_of(model) not in present]
    found.problems += _needing_a_restart(file, config, running)
    if not found.problems and (config.models, config.router) == (running.models, running.router):
        found.problems.append(f"{file}:1: models: nothing differs from what serves")
    if not new:
        found.notes.append("no new version of a model: there are no shadow and no shares, it takes effect at once")
    for index, model in enumerate(config.models):
        if model in new:
            _check_model(file, f"models[{index}]", model, found)
        _check_adapters(file, f"models[{index}]", model, running, found)
    if not found.problems:
        _check_memory(file, new, found)
    if not found.problems:
        found.problems += [f"{file}:1: {problem}" for problem in _refused_arguments(new)]
    return found


def _needing_a_restart(file: str, config: TargetConfig, running: TargetConfig) -> list[str]:
    problems = []
    if config.router.replicas != running.router.replicas:
        problems.append(f"{file}:1: router.replicas: differ from what runs; they change with a restart only")
    if config.embedder != running.embedder:
        problems.append(f"{file}:1: embedder: differs from what runs; it changes with a restart only")
    names = [(model.name, model.application) for model in config.models]
    if names != [(model.name, model.application) for model in running.models]:
        problems.append(f"{file}:1: models: names and applications must be those that run, in their order")
    return problems


def _check_model(file: str, where: str, model: ModelConfig, found: Findings) -> None:
    if model.source is None:
        found.notes.append(f"{model.name}: simulated, no model at all")
        return
    if isinstance(model.source, HubSource | EndpointSource):
        found.notes.append(f"{model.name}: its licence is not known here; look at where it comes from")
        return
    try:
        folder = locate(model.source)
    except FileNotFoundError as error:
        found.problems.append(f"{file}:1: {where}.source: {error}")
        return
    found.notes.append(f"{model.name}: {_licence(folder)}")


def _check_adapters(file: str, where: str, model: ModelConfig, running: TargetConfig, found: Findings) -> None:
    """Those that are new: the engine would load them while it answers."""
    known = {(one.name, adapter.name): adapter for one in running.models for adapter in one.adapters}
    for index, adapter in enumerate(model.adapters):
        place = f"{file}:1: {where}.adapters[{index}]"
        same = known.get((model.name, adapter.name))
        if same == adapter:
            continue
        if same is not None:
            # Under one name, who asks for it would find the other one from one request to the next.
            found.problems.append(f"{place}.source: {adapter.name} serves from another one; what is new has a new name")
            continue
        try:
            folder = locate(adapter.source, needed=CONFIG)
        except FileNotFoundError as error:
            found.problems.append(f"{place}.source: {error}")
            continue
        rank = model.engine.max_adapter_rank if isinstance(model.engine, VllmEngineConfig) else 0
        if problem := find_problem(folder, largest_rank=rank):
            found.problems.append(f"{place}: {adapter.name}: {problem}")


def _licence(folder: Path) -> str:
    words = ("LICENSE", "LICENCE", "NOTICE")
    named = sorted(one.name for one in folder.iterdir() if one.name.upper().startswith(words))
    if named:
        return f"licence in {', '.join(named)}"
    try:
        licence = json.loads((folder / "config.json").read_text()).get("license")
    except (OSError, ValueError):
        licence = None
    return f"licence {licence}" if licence else "its folder names no licence; look at where it comes from"


def _check_memory(file: str, new: Sequence[ModelConfig], found: Findings) -> None:
    """On CPUs: the new replicas stand beside the old ones for a while."""
    needed = sum(_mebibytes(model) * model.autoscaling.min_replicas for model in new)
    if not needed:
        return
    free = psutil.virtual_memory().available >> 20
    found.notes.append(f"memory: about {needed} MiB beside what runs, {free} MiB are free")
    if needed > free:
        found.problems.append(f"{file}:1: models: about {needed} MiB are needed beside what runs, {free} MiB are free")


def _mebibytes(model: ModelConfig) -> int:
    engine = model.engine
    if not isinstance(engine, VllmEngineConfig) or not engine.threads or isinstance(model.source, HubSource):
        return 0
    if model.source is None or isinstance(model.source, EndpointSource):
        return 0
    weights = sum(one.stat().st_size for one in locate(model.source).glob("*.safetensors")) >> 20
    # Weights in files are half as wide as float32 at most.
    wide = 2 if engine.dtype == "float32" else 1
    return PROCESS_MEBIBYTES + weights * wide + (engine.kv_cache_mebibytes or 0)


def _refused_arguments(new: Sequence[ModelConfig]) -> list[str]:
    """What vLLM itself says of the engines' arguments, in a process of its own: its import takes seconds and memory."""
    asked = [model.model_dump(mode="json") for model in new if isinstance(model.engine, VllmEngineConfig)]
    if not asked:
        return []
    command = [sys.executable, "-m", "serve_apps.assistant.engine_check"]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, input=json.dumps(asked), capture_output=True, text=True, timeout=ARGUMENTS_SECONDS, check=False
        )
        problems: list[str] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError):
        return ["engine: its arguments could not be checked"]
    return problems
