"""Writes a model's linear layers in eight bits, in the format that vLLM reads as `compressed-tensors`.

Weights are rounded to the nearest of 255 steps, a scale for each row; activations are rounded while the model runs, a
scale for each token. Nothing is calibrated, so no data is needed. Norms and embeddings stay as they are.
"""

import json
import shutil
from pathlib import Path
from typing import Any

STEPS = 127
LINEAR = "_proj.weight"
_EIGHT_BITS = {"num_bits": 8, "type": "int", "symmetric": True}
SCHEME: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "ignore": ["lm_head"],
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": _EIGHT_BITS | {"strategy": "channel", "dynamic": False},
            "input_activations": _EIGHT_BITS | {"strategy": "token", "dynamic": True},
        }
    },
}


def quantize(source: Path, target: Path) -> None:
    """Write the model of a folder with safetensors into another, which must be there."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Any] = {}
    for name, tensor in load_file(source / "model.safetensors").items():
        if not name.endswith(LINEAR):
            tensors[name] = tensor
            continue
        weight = tensor.float()
        scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / STEPS
        tensors[name] = (weight / scale).round().clamp(-STEPS, STEPS).to(torch.int8)
        tensors[f"{name}_scale"] = scale
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((source / "config.json").read_text()) | {"quantization_config": SCHEME}
    (target / "config.json").write_text(json.dumps(config, indent=2))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        if (source / name).exists():
            shutil.copy(source / name, target / name)
