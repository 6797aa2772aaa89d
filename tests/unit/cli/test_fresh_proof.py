"""A command that wants a fresh proof of who is there makes one and goes on."""

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from deskmesh_cli.connection import NoSignIn, Person, confirmed
from deskmesh_client.errors import StepUpRequired

SOMEBODY = Person(email="owner@example.com", password="a long enough phrase")


class Account:
    """A client of somebody who signed in long ago."""

    def __init__(self, *, totp_enabled: bool = False) -> None:
        self.accounts = self
        self.proofs: list[tuple[str, str]] = []
        self._totp_enabled = totp_enabled

    async def GetAccount(self, request: object) -> Any:
        return SimpleNamespace(totp_enabled=self._totp_enabled)

    async def step_up(self, password: str, code: str) -> None:
        self.proofs.append((password, code))


async def dangerous(client: Any) -> str:
    if not client.proofs:
        raise StepUpRequired(grpc.StatusCode.PERMISSION_DENIED, "STEP_UP_REQUIRED", "Confirm that it is you.")
    return "done"


async def test_the_password_at_hand_is_the_proof_and_the_call_is_made_again() -> None:
    client: Any = Account()
    assert await confirmed(client, SOMEBODY, dangerous) == "done"
    assert client.proofs == [(SOMEBODY.password, "")]


async def test_a_second_factor_needs_somebody_to_type_it(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = Account(totp_enabled=True)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(NoSignIn, match="second factor"):
        await confirmed(client, SOMEBODY, dangerous)
    assert client.proofs == []


async def test_a_proof_that_does_not_help_is_told_instead_of_repeated() -> None:
    client: Any = Account()

    async def never(_: Any) -> str:
        raise StepUpRequired(grpc.StatusCode.PERMISSION_DENIED, "STEP_UP_REQUIRED", "Confirm that it is you.")

    with pytest.raises(StepUpRequired):
        await confirmed(client, SOMEBODY, never)
    assert len(client.proofs) == 1
