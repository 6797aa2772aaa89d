"""Whether a LoRA adapter's folder can be used, asked before the engine touches it."""

import json
from pathlib import Path

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
# The layers that an adapter may change: the linear ones of attention and of the MLP, as Llama's family names them. By
# itself vLLM has room for one of the logits, too; then its CPU engine ends as soon as several prompts' likelihoods are
# asked for at once, as it takes their tokens for requests.
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def find_problem(folder: Path, *, largest_rank: int) -> str | None:
    """What stands against the adapter, or None."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        kind, rank = config["peft_type"], int(config["r"])
        decomposed, biased = config.get("use_dora", False), config.get("bias", "none") != "none"
        modules = config.get("target_modules", [])
        strange = set() if isinstance(modules, str) else {name.rsplit(".", 1)[-1] for name in modules} - set(MODULES)
    except OSError as error:
        return f"its {CONFIG} cannot be read: {error.strerror}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its {CONFIG} is damaged"
    problems = {
        f"it is of type {kind}, not LORA": kind != "LORA",
        f"its rank is {rank}, the engine takes {largest_rank} at most": not 0 < rank <= largest_rank,
        "it uses DoRA, which the engine cannot": bool(decomposed),
        "it has biases, which the engine cannot use": biased,
        f"it changes {', '.join(sorted(strange))}, which the engine cannot": bool(strange),
        f"it has no {WEIGHTS}": not (folder / WEIGHTS).exists(),
    }
    return next((problem for problem, holds in problems.items() if holds), None)
