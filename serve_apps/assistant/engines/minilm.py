"""all-MiniLM-L6-v2 in plain torch: a BERT encoder, mean pooling, length one.

The architecture is a page long, and without transformers the replica takes half the memory and starts in two seconds. A
test holds it against transformers' own implementation.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

from serve_apps.assistant.embedding import Vector

# Texts of like length go through the model together: padding is work for nothing.
SLICE_TEXTS = 16


class MiniLm:
    """Encodes texts of at most `max_tokens` tokens, special ones included; longer ones lose their end."""

    def __init__(self, folder: Path, *, max_tokens: int, threads: int) -> None:
        torch.set_num_threads(threads)
        config = json.loads((folder / "config.json").read_text())
        self._weights: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
        self._layers: int = config["num_hidden_layers"]
        self._heads: int = config["num_attention_heads"]
        self._epsilon: float = config["layer_norm_eps"]
        self.dimension: int = config["hidden_size"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> list[Vector]:
        """One vector a text, in their order."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        torch.set_grad_enabled(False)
        order = sorted(range(len(texts)), key=lambda index: len(tokens[index]))
        vectors: dict[int, Vector] = {}
        for start in range(0, len(order), SLICE_TEXTS):
            chosen = order[start : start + SLICE_TEXTS]
            cut = [self._cut(tokens[index]) for index in chosen]
            for index, ids, values in zip(chosen, cut, self._forward(cut).tolist(), strict=True):
                vectors[index] = Vector(values, len(ids), len(tokens[index]) > self._max_tokens)
        return [vectors[index] for index in range(len(texts))]

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) <= self._max_tokens:
            return ids
        return [*ids[: self._max_tokens - 1], ids[-1]]

    def _forward(self, rows: list[list[int]]) -> torch.Tensor:
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in rows])
        weights = self._weights
        hidden = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][:longest]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        visible = mask[:, None, None, :].bool()
        for layer in range(self._layers):
            hidden = self._layer(hidden, visible, f"encoder.layer.{layer}")
        pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(pooled, dim=1)

    def _layer(self, hidden: torch.Tensor, visible: torch.Tensor, name: str) -> torch.Tensor:
        query, key, value = (
            self._split(self._linear(hidden, f"{name}.attention.self.{part}")) for part in ("query", "key", "value")
        )
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        attended = attended.transpose(1, 2).flatten(2)
        attended = self._linear(attended, f"{name}.attention.output.dense")
        hidden = self._norm(hidden + attended, f"{name}.attention.output.LayerNorm")
        inner = functional.gelu(self._linear(hidden, f"{name}.intermediate.dense"))
        return self._norm(hidden + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        return states.unflatten(2, (self._heads, -1)).transpose(1, 2)

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(states, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _norm(self, states: torch.Tensor, name: str) -> Any:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(states, (self.dimension,), weight, bias, self._epsilon)
