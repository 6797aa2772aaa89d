"""Our page of BERT against transformers' implementation, with the real weights of both embedding models."""

import json
import subprocess
import sys

import pytest

# In a process of its own: transformers and torch warn of their own deprecations while they are imported.
COMPARE = """
import json, torch
from transformers import AutoTokenizer, BertConfig, BertModel
from serve_apps.assistant.config import load_config
from serve_apps.assistant.engines import onnx_weights
from serve_apps.assistant.engines.bert import Bert
from serve_apps.assistant.models import locate
from serve_apps.assistant.settings import CONFIGS

torch.set_grad_enabled(False)
texts = ["Where is my parcel?", "x", "A much longer text about boots, tents and the weather. " * 8, "Grüße aus Köln 🏕"]
embedder = load_config(CONFIGS / "laptop.yaml").embedder
likeness, search = (locate(one.source) for one in (embedder, *embedder.further))

def vectors(folder, model, pool):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    hidden = model.eval()(**batch).last_hidden_state
    return torch.nn.functional.normalize(pool(hidden, batch["attention_mask"][:, :, None]), dim=1), batch

def off(folder, one, expected):
    found = Bert(folder, pooling=one.pooling, max_tokens=256, threads=1).encode(texts)
    assert [vector.tokens for vector in found] == expected[1]["attention_mask"].sum(1).tolist()
    return float((expected[0] - torch.tensor([vector.values for vector in found])).abs().max())

mean = vectors(likeness, BertModel.from_pretrained(likeness), lambda hidden, mask: (hidden * mask).sum(1) / mask.sum(1))

wide = {}
weights = onnx_weights.load(search / "model.onnx")
for name, weight in weights.items():
    scale, zero = weights.get(f"{name}_scale"), weights.get(f"{name}_zero_point", 0.0)
    wide[name] = weight if scale is None else (weight.float() - zero) * (scale[:, None] if scale.dim() else scale)
bert = BertModel(BertConfig.from_pretrained(search), add_pooling_layer=False)
bert.load_state_dict({name: wide[name] for name in bert.state_dict()})
first = vectors(search, bert, lambda hidden, mask: hidden[:, 0])

for file in ("config.json", "vocab.txt"):
    try:
        onnx_weights.load(search / file)
    except ValueError:
        continue
    raise AssertionError(f"{file} was taken for a model")
print(json.dumps([off(likeness, embedder, mean), off(search, embedder.further[0], first), first[0][0].tolist()[:4]]))
"""
# What onnxruntime makes of the same file for the first text; it rounds activations to eight bits, too.
BY_ONNXRUNTIME = [0.0174, -0.0671, 0.0822, -0.0438]


def test_vectors_are_those_of_transformers() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    likeness, search, first = json.loads(done.stdout)
    assert likeness < 1e-5
    assert search < 1e-4
    assert first == pytest.approx(BY_ONNXRUNTIME, abs=0.01)
