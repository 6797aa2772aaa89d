"""The weights of a BERT from an ONNX file, by the names that transformers gives them.

ONNX's own graph runner is not needed: it would be a second engine beside torch for the same page of arithmetic.
"""

from pathlib import Path

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper

_QUANTIZED = "_quantized"
_PRODUCTS = {"MatMul", "MatMulInteger"}


def load(file: Path) -> dict[str, torch.Tensor]:
    """Tensors by name, those in eight bits with their `_scale` and, of embeddings, `_zero_point`.

    Linear layers are (out, in), with a scale for each row. Raises ValueError for what is no such file.
    """
    try:
        graph = onnx.load(file, format="protobuf").graph
    except DecodeError:
        raise ValueError(f"{file} is no ONNX model") from None
    # Copies, because torch warns of memory that it may not write.
    named = {
        tensor.name.removesuffix(_QUANTIZED): torch.tensor(numpy_helper.to_array(tensor))
        for tensor in graph.initializer
    }
    # Weights of linear layers are (in, out), named by numbers; the layer is in "/encoder/layer.0/…/MatMul_quant".
    for node in graph.node:
        if node.op_type not in _PRODUCTS:
            continue
        weight, layer = node.input[1], node.name.strip("/").rpartition("/")[0].replace("/", ".")
        base = weight.removesuffix(_QUANTIZED)
        if base not in named:
            # The product of two activations.
            continue
        named[f"{layer}.weight"] = named.pop(base).T
        if base != weight:
            named[f"{layer}.weight_scale"] = named.pop(f"{base}_scale")
            if named.pop(f"{base}_zero_point").any():
                raise ValueError(f"{layer} is quantized around another number than zero")
    return named
