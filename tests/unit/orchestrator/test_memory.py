"""What a process remembers of passages and examples, and how steps are recorded."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pytest
from opentelemetry import trace

from services.common.spending import Usage
from services.orchestrator.answering.intents import load_examples
from services.orchestrator.answering.ranking import Vector, passage_text
from services.orchestrator.errors import DependencyUnavailable
from services.orchestrator.workflow.memory import IntentMemory, PassageMemory
from services.orchestrator.workflow.record import Recorder, context_of
from tests.unit.orchestrator.passages import passage

ONE = passage("psg_1", "It costs £3. It takes 2 days.")
OTHER = passage("psg_2", "Labels must be on.")


class CountingEmbedder:
    """Remembers what it was asked; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.texts: list[str] = []
        self.failures = failures
        self.searched: list[str] = []

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        if self.failures:
            self.failures -= 1
            raise DependencyUnavailable
        self.texts.extend(texts)
        return [np.array([1.0, 0.0], dtype=np.float32) for _ in texts]

    async def embed_for_search(self, texts: Sequence[str], questions: bool) -> list[Vector]:
        assert not questions
        self.searched.extend(texts)
        return [np.array([0.0, 1.0], dtype=np.float32) for _ in texts]


async def test_a_passage_is_embedded_once() -> None:
    embedder = CountingEmbedder()
    memory = PassageMemory(embedder)
    first = await memory.recall([ONE])
    again = await memory.recall([ONE, OTHER])
    assert (first.learned, again.learned) == (1, 1)
    assert [one.text for one in again.sentences[ONE]] == ["It costs £3.", "It takes 2 days."]
    assert len(again.vectors[ONE.id].sentences) == len(again.vectors[ONE.id].sentences_in_context) == 2
    assert len(embedder.texts) == len(set(embedder.texts)) == 5 + 3
    assert again.vectors[OTHER.id].search.tolist() == [0.0, 1.0]
    assert embedder.searched == [passage_text(ONE), passage_text(OTHER)]


async def test_what_was_not_needed_longest_is_forgotten() -> None:
    memory = PassageMemory(CountingEmbedder(), capacity=1)
    await memory.recall([ONE])
    await memory.recall([OTHER])
    assert (await memory.recall([OTHER])).learned == 0
    assert (await memory.recall([ONE])).learned == 1


async def test_the_examples_are_embedded_once_the_embedder_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orchestrator.workflow.memory.WARMING_PAUSE_SECONDS", 0.0)
    embedder = CountingEmbedder(failures=2)
    memory = IntentMemory(embedder)
    await memory.warm()
    await memory.nearest(np.array([1.0, 0.0], dtype=np.float32))
    assert embedder.texts == list(load_examples().utterances)


async def test_steps_are_recorded_in_the_order_they_began() -> None:
    record = Recorder(datetime.now(UTC), lambda: datetime.now(UTC), trace.NoOpTracer())

    async def fail() -> None:
        async with record.step("outer") as notes:
            notes.usage = Usage(3, 1, 2)
            async with record.step("inner") as inner:
                inner.usage = Usage(1, 0, 1)
            raise DependencyUnavailable

    with pytest.raises(DependencyUnavailable):
        await fail()
    assert [(step.name, step.error_reason) for step in record.steps] == [
        ("outer", "DEPENDENCY_UNAVAILABLE"),
        ("inner", ""),
    ]
    assert record.usage == Usage(4, 1, 3)
    assert record.steps[0].started_after <= record.steps[1].started_after
    assert record.steps[0].elapsed >= record.steps[1].elapsed


def test_a_kept_header_stands_for_its_span() -> None:
    context = context_of(f"00-{'a' * 32}-{'b' * 16}-01")
    assert context is not None
    assert f"{trace.get_current_span(context).get_span_context().trace_id:032x}" == "a" * 32
    assert context_of("") is None
