"""Calls of tools: asked for, read, checked, repaired once."""

import json
from collections.abc import AsyncGenerator, Sequence

import pytest

from serve_apps.assistant.chat import Ended, Frame, Started, answer, answer_with_tools
from serve_apps.assistant.engines.base import (
    Delta,
    Finished,
    FinishReason,
    Message,
    Prompt,
    Role,
    TokenLogProbability,
    Usage,
)
from serve_apps.assistant.engines.simulated import SimulatedEngine
from serve_apps.assistant.errors import ToolCallInvalid
from serve_apps.assistant.tools import NotACall, Toolbox, ToolCall, as_text, may_become_call
from services.common.errors import InvalidInput

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"order": {"type": "string", "pattern": "^[0-9]{4}$"}},
        "required": ["order"],
        "additionalProperties": False,
    }
)
TOOLS = [("status", "Looks up an order.", SCHEMA), ("cancel", "Cancels an order.", SCHEMA)]
GOOD = '{"name": "status", "arguments": {"order": "1234"}}'
PROMPT = Prompt((Message(Role.USER, "Where is 1234?"),))


class ScriptedEngine(SimulatedEngine):
    """Writes one text after the other, a few characters at a time, and remembers what it was asked."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__(context_length=1000, max_running=1, first_token_seconds=0, token_seconds=0)
        self.texts = list(texts)
        self.prompts: list[Prompt] = []

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        self.prompts.append(prompt)
        text = self.texts.pop(0)
        for start in range(0, len(text), 3):
            yield Delta(text[start : start + 3], 1)
        yield Finished(FinishReason.STOP, Usage(10, 4, len(text)))


async def frames(engine: ScriptedEngine, *, required: bool = False) -> list[Frame]:
    return [frame async for frame in answer_with_tools(engine, PROMPT, Toolbox(TOOLS), required=required)]


async def test_a_call_is_read_and_nothing_of_it_is_streamed() -> None:
    engine = ScriptedEngine([f"<tool_call>{GOOD}</tool_call>"])
    first, last = await frames(engine)
    assert first == Started()
    assert isinstance(last, Ended)
    assert (last.reason, last.repaired) == (FinishReason.TOOL_CALLS, False)
    assert last.calls == (ToolCall("status", '{"order": "1234"}'),)
    system, user = engine.prompts[0].messages
    assert "Cancels an order." in system.content
    assert user == PROMPT.messages[0]
    assert engine.prompts[0].constraint is None


async def test_words_are_streamed_though_calls_were_possible() -> None:
    text = "<to be seen> It is on its way."
    found = await frames(ScriptedEngine([text]))
    assert "".join(frame.text for frame in found if isinstance(frame, Delta)) == text
    assert sum(frame.tokens for frame in found if isinstance(frame, Delta)) == len(text) // 3
    assert found[-1] == Ended(FinishReason.STOP, Usage(10, 4, len(text)))
    assert len(found) > 4


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ('{"name": "status", "arguments": {"order": "12"}}', "order"),
        ('{"name": "refund", "arguments": {}}', "there is no tool refund"),
        ('{"name": "status"}', "needs name and arguments"),
        ("status(1234)", "not JSON"),
    ],
)
async def test_a_call_that_does_not_fit_is_asked_for_once_more_and_held_to_its_schema(bad: str, problem: str) -> None:
    engine = ScriptedEngine([f"<tool_call>{bad}</tool_call>", GOOD])
    last = (await frames(engine))[-1]
    assert isinstance(last, Ended)
    assert (last.repaired, last.calls[0].name) == (True, "status")
    assert last.usage.prompt_tokens == 20
    again = engine.prompts[1]
    assert problem in again.messages[-1].content
    assert again.constraint is not None
    assert json.loads(again.constraint.json_schema or "")["anyOf"][1]["properties"]["name"] == {"const": "cancel"}


async def test_a_second_mistake_is_an_error() -> None:
    with pytest.raises(ToolCallInvalid):
        await frames(ScriptedEngine(["<tool_call>nonsense", "nonsense"]))


async def test_a_call_that_is_required_is_held_to_its_schema_at_once() -> None:
    engine = ScriptedEngine([GOOD])
    last = (await frames(engine, required=True))[-1]
    assert isinstance(last, Ended)
    assert last.calls[0].name == "status"
    assert engine.prompts[0].constraint is not None


def test_several_calls_and_their_text_go_both_ways() -> None:
    toolbox = Toolbox(TOOLS)
    calls = (ToolCall("status", '{"order": "1234"}'), ToolCall("cancel", '{"order": "5678"}'))
    assert toolbox.read(as_text(calls)) == calls
    with pytest.raises(NotACall):
        toolbox.read("")


def test_a_beginning_may_become_a_call() -> None:
    assert all(may_become_call(text) for text in ("", " ", "<", " <tool", "<tool_call>{", "<tool_call>{}</tool_call>"))
    assert not any(may_become_call(text) for text in ("A", "<b", " It", "<tool_cake"))


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ("{", "is not JSON"),
        ('{"type": "object", "properties": 3}', "is no JSON schema"),
        ('{"type": "string"}', "of an object"),
        ('{"type": "object", "properties": {"a": {"$ref": "https://example.com/a.json"}}}', "another document"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(schema: str, problem: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Toolbox([("status", "", schema)])
    ((field, description),) = raised.value.violations
    assert field == "tools[0].parameters_schema"
    assert problem in description


def test_two_tools_cannot_share_a_name() -> None:
    with pytest.raises(InvalidInput):
        Toolbox([TOOLS[0], TOOLS[0]])


async def test_probabilities_of_held_back_tokens_come_with_the_text_after_them() -> None:
    first, second = TokenLogProbability("\ufffd", -1.0), TokenLogProbability("é", -2.0)

    class Halves(ScriptedEngine):
        async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
            yield Delta("", 1, (first,))
            yield Delta("é", 1, (second,))
            yield Finished(FinishReason.STOP, Usage(1, 0, 2))

    found = [frame async for frame in answer(Halves([]), PROMPT)]
    assert found[1] == Delta("é", 2, (first, second))
