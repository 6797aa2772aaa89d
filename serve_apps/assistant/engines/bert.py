"""A BERT encoder in plain torch whose vectors have length one.

The architecture is a page long, and without transformers the replica takes half the memory and starts in two seconds. A
test holds it against transformers' own implementation. Weights in eight bits stay so in memory and are widened where
they are used: that takes milliseconds, and a quarter of the room.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch.nn import functional

from serve_apps.assistant.config import Pooling
from serve_apps.assistant.embedding import Vector
from serve_apps.assistant.engines import onnx_weights

# Texts of like length go through the model together: padding is work for nothing.
SLICE_TEXTS = 16


class Bert:
    """Encodes texts of at most `max_tokens` tokens, special ones included; longer ones lose their end."""

    def __init__(self, folder: Path, *, pooling: Pooling, max_tokens: int, threads: int) -> None:
        torch.set_num_threads(threads)
        config = json.loads((folder / "config.json").read_text())
        safetensors = folder / "model.safetensors"
        self._weights: dict[str, torch.Tensor] = (
            load_file(safetensors) if safetensors.exists() else onnx_weights.load(folder / "model.onnx")
        )
        self._pooling = pooling
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
        hidden = (
            self._rows("embeddings.word_embeddings", ids)
            + self._rows("embeddings.position_embeddings", torch.arange(longest))
            + self._rows("embeddings.token_type_embeddings", torch.tensor(0))
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        visible = mask[:, None, None, :].bool()
        for layer in range(self._layers):
            hidden = self._layer(hidden, visible, f"encoder.layer.{layer}")
        if self._pooling is Pooling.FIRST:
            return functional.normalize(hidden[:, 0], dim=1)
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

    def _rows(self, name: str, numbers: torch.Tensor) -> torch.Tensor:
        rows = self._weights[f"{name}.weight"][numbers]
        scale = self._weights.get(f"{name}.weight_scale")
        return rows if scale is None else (rows.float() - self._weights[f"{name}.weight_zero_point"]) * scale

    def _linear(self, states: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        # In eight bits a row has a scale, and zero is zero.
        scale = self._weights.get(f"{name}.weight_scale")
        if scale is None:
            return functional.linear(states, weight, bias)
        return torch.addcmul(bias, functional.linear(states, weight.float()), scale)

    def _norm(self, states: torch.Tensor, name: str) -> Any:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(states, (self.dimension,), weight, bias, self._epsilon)
