"""A LoRA adapter of random numbers, in the files that peft would write."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TARGETS = ("q_proj", "v_proj")


def write_adapter(folder: Path, model: Mapping[str, Any], *, rank: int, seed: int) -> Path:
    """Write an adapter for a Llama model of this configuration; large enough numbers to be noticed."""
    import torch
    from safetensors.torch import save_file

    draw = torch.Generator().manual_seed(seed)
    hidden = model["hidden_size"]
    heads = {"q_proj": model["num_attention_heads"], "v_proj": model["num_key_value_heads"]}
    tensors = {}
    for layer in range(model["num_hidden_layers"]):
        for target in TARGETS:
            name = f"base_model.model.model.layers.{layer}.self_attn.{target}"
            out = heads[target] * model["head_dim"]
            tensors[f"{name}.lora_A.weight"] = torch.randn(rank, hidden, generator=draw) * 0.05
            tensors[f"{name}.lora_B.weight"] = torch.randn(out, rank, generator=draw) * 0.5
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "any",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": list(TARGETS),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
