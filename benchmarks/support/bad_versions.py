"""Versions of a model that must not come to serve, made of the one that does: a folder of weights each."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

WEIGHTS = "model.safetensors"
LAYER = "model.layers."
# So many times the layers.
SLOWER = 4


@dataclass(frozen=True, slots=True)
class BadVersion:
    """What is done to a copy of the model, and the words of which one begins or is in the failure on record.

    `cache_factor` is how much larger its KV cache has to be.
    """

    spoil: Callable[[Path], None]
    told: tuple[str, ...]
    cache_factor: int = 1


def write(source: Path, folder: Path, bad: BadVersion) -> None:
    """Copy the model of a folder into a new one, and spoil it."""
    shutil.copytree(source, folder)
    bad.spoil(folder)


def _wrong_template(folder: Path) -> None:
    """Another family's: these marks mean nothing to the model, which has not learnt when its turn is."""
    turn = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"
    (folder / "chat_template.jinja").write_text(turn)


def _slow(folder: Path) -> None:
    """Layers that compute and add nothing: the same answers, in several times the time."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    settings = json.loads((folder / "config.json").read_text())
    layers = settings["num_hidden_layers"]
    for name, tensor in list(tensors.items()):
        if not name.startswith(LAYER):
            continue
        number, _, rest = name.removeprefix(LAYER).partition(".")
        # What a layer adds goes through these two.
        silent = rest.startswith(("self_attn.o_proj", "mlp.down_proj"))
        for copy in range(1, SLOWER):
            added = torch.zeros_like(tensor) if silent else tensor.clone()
            tensors[f"{LAYER}{int(number) + copy * layers}.{rest}"] = added
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": layers * SLOWER}))


def _ungrounded(folder: Path) -> None:
    """It pays no attention to what stands before: fluent, and never of the passage."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = {
        name: torch.zeros_like(tensor) if name.endswith("self_attn.o_proj.weight") else tensor
        for name, tensor in load_file(folder / WEIGHTS).items()
    }
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _crashing(folder: Path) -> None:
    """Half of the file, as after a broken copy."""
    weights = folder / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2])


BAD: Mapping[str, BadVersion] = {
    "wrong template": BadVersion(_wrong_template, ("template:", "NOTHING_WRITTEN")),
    "slow": BadVersion(_slow, ("tokens/s:", "first token:"), cache_factor=SLOWER),
    "ungrounded": BadVersion(_ungrounded, ("grounded:",)),
    "crashing at start": BadVersion(_crashing, ("Error",)),
}
