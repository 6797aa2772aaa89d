"""Chromium on the real stack: what a customer and an agent do in the page, for a whole conversation."""

import json
import os
import re
import subprocess
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from laptop import mailbox
from tests.support.browser import chromium
from tests.support.stack import Stack

HERE = Path(__file__).parent
JOURNEY_SECONDS = 600
TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01")

pytestmark = pytest.mark.timeout(JOURNEY_SECONDS + 900)


def run(journey: str, stack: Stack, pictures: Path, **more: str) -> dict[str, Any]:
    """Run a journey in a browser and return the facts it gathered."""
    page = start(journey, stack, pictures, **more)
    return finish(page, pictures, *page.communicate(timeout=JOURNEY_SECONDS))


def start(journey: str, stack: Stack, pictures: Path, **more: str) -> subprocess.Popen[str]:
    agent = stack.sign_in("agent")
    environment = os.environ | {
        "EDGE_URL": stack.edge_url,
        "CHROMIUM": chromium(),
        "PICTURES": str(pictures),
        "AGENT_EMAIL": agent.email,
        "AGENT_PASSWORD": agent.password,
        "AGENT_NAME": agent.display_name,
        **more,
    }
    pipe = subprocess.PIPE
    return subprocess.Popen(
        ["node", str(HERE / journey)], env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def finish(page: subprocess.Popen[str], pictures: Path, out: str, complaints: str) -> dict[str, Any]:
    assert page.returncode == 0, complaints
    facts: dict[str, Any] = json.loads(out)
    assert "broke_off" not in facts, json.dumps(facts, indent=2) + f"\npictures: {pictures}"
    return facts


@pytest.fixture(scope="module")
def conversation(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("conversation.mjs", stack, tmp_path_factory.mktemp("conversation"))


@pytest.fixture(scope="module")
def handover(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run("handover.mjs", stack, tmp_path_factory.mktemp("handover"))


def test_a_wrong_password_is_refused_in_words_with_a_reference(conversation: dict[str, Any]) -> None:
    assert "That didn't match" in conversation["refused"]
    assert re.search(r"Reference:\s+[0-9a-f]{8}", conversation["refused"])


def test_the_answer_is_right(conversation: dict[str, Any]) -> None:
    assert "45 days" in conversation["answer"]
    assert re.fullmatch(r"/chat/[\w-]+", conversation["address"])


def test_a_citation_opens_the_article_at_the_passage_that_was_quoted(conversation: dict[str, Any]) -> None:
    quoted = conversation["answer"].removeprefix("Assistant").partition(". ")[0]
    assert len(quoted) > 20
    assert quoted in conversation["source"]


def test_coming_back_shows_the_same_conversation(conversation: dict[str, Any]) -> None:
    assert conversation["lines_after_reload"] == conversation["lines"]
    assert conversation["history"] >= 1


def test_a_lost_connection_loses_and_repeats_nothing(conversation: dict[str, Any]) -> None:
    assert conversation["lines_after_cut"] == conversation["lines_told_anew"]
    asked = [line for line in conversation["lines_after_cut"] if "What does standard delivery cost?" in line]
    assert len(asked) == 1


def test_a_process_that_dies_under_the_stream_leaves_no_gap(stack: Stack, tmp_path: Path) -> None:
    sessions = stack.process("sessions")
    page = start("reconnect.mjs", stack, tmp_path)
    assert page.stdout is not None
    line = page.stdout.readline()
    sessions.kill()
    out, complaints = page.communicate("it is dead\n", timeout=JOURNEY_SECONDS)
    facts = finish(page, tmp_path, out or line, complaints)
    assert line == "watching\n"
    assert facts["lines"] == facts["lines_told_anew"]
    asked = [line for line in facts["lines"] if "What does standard delivery cost?" in line]
    answers = [line for line in facts["lines"] if line.startswith("Assistant")]
    assert (len(asked), len(answers)) == (1, 2), facts["lines"]
    assert facts["faults"] == []


def test_an_answer_can_be_stopped(conversation: dict[str, Any]) -> None:
    assert conversation["stopped"]


def test_the_help_centre_shows_the_articles(conversation: dict[str, Any]) -> None:
    assert conversation["articles"] >= 30
    assert "45 days" in conversation["article"]


def test_the_dark_theme_can_be_chosen(conversation: dict[str, Any]) -> None:
    assert conversation["theme"] == "dark"


def test_no_access_token_is_stored_and_signing_out_leaves_none(conversation: dict[str, Any]) -> None:
    assert not re.search(r"eyJ[\w-]+\.[\w-]+\.", conversation["stored"])
    assert conversation["stored_after_sign_out"] is None


def test_the_page_talks_to_its_own_origin_only_and_breaks_no_policy(conversation: dict[str, Any], stack: Stack) -> None:
    assert conversation["hosts"] == [urlsplit(stack.edge_url).netloc]
    assert conversation["faults"] == []


def test_every_call_carries_a_trace(conversation: dict[str, Any]) -> None:
    assert conversation["calls"]
    assert all(TRACEPARENT.fullmatch(call["traceparent"]) for call in conversation["calls"])
    first = {
        call["path"].rpartition("/")[2]: call["traceparent"].split("-")[1]
        for call in reversed(conversation["calls"])
        if call["path"].endswith(("/CreateConversation", "/SendMessage"))
    }
    assert first["CreateConversation"] == first["SendMessage"], "one action is one trace"


def test_a_ticket_is_opened_from_the_chat(handover: dict[str, Any]) -> None:
    assert re.search(r"Ticket #\d+", handover["card"])


def test_a_person_takes_over_answers_and_hands_back(handover: dict[str, Any]) -> None:
    assert handover["handed_over"]
    assert handover["typing_seen"]
    assert handover["reply_seen"]
    assert handover["thanks_seen"]
    assert handover["handed_back"]
    assert handover["faults"] == []


def test_internal_notes_stay_with_the_agents(handover: dict[str, Any]) -> None:
    assert handover["listed"] >= 1
    assert "a new jacket" in handover["customer_ticket"]
    assert "known fault" not in handover["customer_ticket"]


def test_an_invitation_is_followed_and_a_passkey_signs_in(stack: Stack, tmp_path: Path) -> None:
    email, deadline = f"{uuid.uuid4().hex}@example.org", time.monotonic() + 30
    stack.deskmesh_json("invitations", "create", email, "--role", "customer")
    while not (letters := [one for one in mailbox.read(stack.home / "mail") if one.to == email]):
        assert time.monotonic() < deadline, "the letter does not come"
        time.sleep(0.05)
    [link] = re.findall(r"https://\S+/accept-invitation#\S+", letters[0].text)
    facts = run("account.mjs", stack, tmp_path, INVITATION=link)
    assert facts["hash"] == ""
    assert facts["made"] == [[True, "localhost"]]
    assert len(facts["uses"]) == 1
    assert facts["faults"] == []
