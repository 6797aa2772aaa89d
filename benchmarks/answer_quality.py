"""How often the assistant answers right, and what it does when it should not simply answer, through the whole stack.

Asks the golden questions and plays the conversations of `decisions.jsonl` through Envoy. A golden question is answered
right when the answer states the expected facts and none of the wrong ones, and cites the expected heading of the
expected article. With `--out-of-scope FILE` (CLINC150's JSON) it also counts how many questions on other subjects are
answered from the help centre, which none should be.

usage: python -m benchmarks.answer_quality [--home FOLDER] [--out-of-scope FILE]
"""

import argparse
import asyncio
import json
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Result, machine, report
from benchmarks.stack import EDGE_PORT, deskmesh, state_folder
from demo.matching import mentions, states_the_facts
from deskmesh.orchestrator.v1.turn_pb2 import Decision, Turn
from deskmesh_cli.connection import DemoSignIns
from deskmesh_client import Client
from deskmesh_client.errors import Busy, Unavailable

QUESTIONS = Path(__file__).resolve().parents[1] / "demo" / "questions"
TARGET_SHARE = 0.9
OUT_OF_SCOPE_ASKED = 60
DEFAULT_EDGE_PORT = 8443
TRIES = 5
PAUSE_SECONDS = 3.0


@dataclass(frozen=True)
class Asked:
    """One golden question and how its turn ended."""

    identifier: str
    turn: Turn
    right: bool
    wrong_fact: bool


def load(name: str) -> list[dict[str, Any]]:
    """The lines of a question file."""
    return [json.loads(line) for line in (QUESTIONS / name).read_text(encoding="utf-8").splitlines()]


def judge(question: dict[str, Any], turn: Turn) -> Asked:
    """Hold an answer against the expected facts and the expected heading."""
    cited = any(
        f"/{question['article_slug']}" in citation.url and citation.heading == question["heading"]
        for citation in turn.citations
    )
    right = cited and states_the_facts(turn.answer, question["must_contain"], question["must_not_contain"])
    wrong = any(mentions(turn.answer, fact) for fact in question["must_not_contain"])
    return Asked(question["id"], turn, right, wrong)


def decision(turn: Turn) -> str:
    """The name of the decision, as the question files write it."""
    return Decision.Name(turn.decision).removeprefix("DECISION_").lower()


async def ask(client: Client, text: str, conversation_id: str = "") -> Turn:
    """Ask once more when a part was away for a moment; what is measured is what is said."""
    for _ in range(TRIES - 1):
        try:
            return await client.ask(text, conversation_id)
        except (Unavailable, Busy) as error:
            await asyncio.sleep(error.retry_after_seconds or PAUSE_SECONDS)
    return await client.ask(text, conversation_id)


async def play(client: Client, messages: Sequence[str]) -> Turn:
    """Say the messages one after the other in a new conversation; the last turn."""
    conversation_id = ""
    for message in messages:
        turn = await ask(client, message, conversation_id)
        conversation_id = turn.conversation_id
    return turn


def seconds(turns: Sequence[Turn]) -> list[float]:
    """Seconds to the first text of each turn, in order of size."""
    return sorted(turn.first_token.ToTimedelta().total_seconds() for turn in turns)


def sentences(turn: Turn) -> int:
    """How many sentences of the help centre an answer has."""
    return sum(int(step.details["sentences"]) for step in turn.steps if step.name == "word")


async def measure(demo: DemoSignIns, home: Path, edge_port: int, elsewhere: Sequence[str]) -> Result:
    """Ask everything, one question at a time."""
    customer = next(user for user in demo.users if user.role == "customer")
    async with Client(f"localhost:{edge_port}", ca_file=home / "pki" / "ca.crt") as client:
        await client.sign_in(customer.email, customer.password, demo.organization)
        asked = [judge(question, await ask(client, question["question"])) for question in load("golden.jsonl")]
        confusion: Counter[str] = Counter()
        misjudged = []
        for case in load("decisions.jsonl"):
            found = decision(await play(client, case["messages"]))
            confusion[f"{case['kind']} → {found}"] += 1
            if found not in case.get("expected_any", [case["expected"]]):
                misjudged.append(case["id"])
        answered = [text for text in elsewhere if (await ask(client, text)).citations]
    first = seconds([one.turn for one in asked])
    share = sum(one.right for one in asked) / len(asked)
    return Result(
        name="answer_quality",
        value=round(share, 3),
        unit="share answered right and cited",
        baseline=TARGET_SHARE,
        ratio=round(share / TARGET_SHARE, 3),
        n=len(asked),
        spread=(round(share / TARGET_SHARE, 3), round(share / TARGET_SHARE, 3)),
        machine=machine(),
        details={
            "wrong_facts": [one.identifier for one in asked if one.wrong_fact],
            "not_right": [f"{one.identifier} {decision(one.turn)}" for one in asked if not one.right],
            "first_text_seconds": {"median": statistics.median(first), "p95": first[int(0.95 * len(first))]},
            "prompt_tokens_median": statistics.median(one.turn.usage.prompt_tokens for one in asked),
            "sentences_mean": statistics.mean(sentences(one.turn) for one in asked),
            "decisions": dict(sorted(confusion.items())),
            "decisions_misjudged": misjudged,
            "out_of_scope_asked": len(elsewhere),
            "out_of_scope_answered": answered,
        },
    )


def questions_elsewhere(file: Path | None) -> list[str]:
    """Questions on other subjects, from CLINC150's validation split."""
    if file is None:
        return []
    data = json.loads(file.read_text(encoding="utf-8"))
    return [text for text, _ in data["oos_val"]][:OUT_OF_SCOPE_ASKED]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="state folder of a running stack; without it one is started")
    parser.add_argument("--out-of-scope", type=Path, metavar="FILE")
    options = parser.parse_args()
    with nullcontext(options.home) if options.home else state_folder() as home:
        edge_port = EDGE_PORT
        if options.home:
            edge_port = int(os.environ.get("DESKMESH_EDGE_PORT", DEFAULT_EDGE_PORT))
        else:
            deskmesh(home, "up")
        demo = DemoSignIns.model_validate_json((home / "secrets" / "demo.json").read_bytes())
        report(asyncio.run(measure(demo, home, edge_port, questions_elsewhere(options.out_of_scope))))


if __name__ == "__main__":
    main()
