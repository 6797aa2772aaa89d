"""What `deskmesh budgets` and `deskmesh usage` ask the service, and what they print of its answers."""

import json
from dataclasses import dataclass
from typing import Any, cast

import pytest

from deskmesh_cli.commands import budgets, usage
from deskmesh_client import Client
from tests.integration.usage.desk import MODEL, Desk, Person, entry


class Signed:
    """A stub whose calls are a person's."""

    def __init__(self, stub: Any, person: Person) -> None:
        self._stub, self._person = stub, person

    def __getattr__(self, name: str) -> Any:
        return lambda request: getattr(self._stub, name)(request, metadata=self._person.headers)


@dataclass
class SignedClient:
    """The part of a client that the commands use."""

    budgets: Signed
    usage: Signed


def client_of(person: Person) -> Client:
    return cast(Client, SignedClient(Signed(person.budgets, person), Signed(person.usage, person)))


async def test_budgets_are_made_shown_changed_and_removed(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    client = client_of(desk.person("owner"))
    made = await budgets._create(client, "organization", "", "day", 12_500_000)
    await desk.record(entry(7_000_000))
    budgets._print_budgets(await budgets._list(client), as_json=True)
    (shown,) = json.loads(capsys.readouterr().out)["budgets"]
    assert (shown["scope"], shown["period"], shown["limit_micros"]) == ("organization", "day", 12_500_000)
    budgets._print_budgets(await budgets._list(client), as_json=False)
    text = capsys.readouterr().out
    assert all(part in text for part in (made.id, "12.50", "7.00", "56 %")), text
    budgets._print_alerts(await budgets._alerts(client, made.id), as_json=True)
    (alert,) = json.loads(capsys.readouterr().out)["alerts"]
    assert (alert["threshold_percent"], alert["budget_id"]) == (50, made.id)
    budgets._print_alerts(await budgets._alerts(client, ""), as_json=False)
    assert "50 %" in capsys.readouterr().out
    assert (await budgets._set(client, made.id, 20_000_000)).limit_micros == 20_000_000
    await budgets._delete(client, made.id)
    assert await budgets._list(client) == []


async def test_usage_is_shown_by_what_is_asked_for(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    await desk.record(entry(1_500_000, completion_tokens=3))
    found = await desk.person().read(2)
    usage._print(["model"], list(found.groups), found.currency)
    text = capsys.readouterr().out
    assert all(part in text for part in (MODEL, "1500000", "1.500006", "USD"))
    assert usage._group(["model"], found.groups[0]) == {
        "model": MODEL,
        "calls": 1,
        "prompt_tokens": 1_500_000,
        "cached_prompt_tokens": 0,
        "completion_tokens": 3,
        "seconds": 0.0,
        "cost_micros": 1_500_006,
    }
