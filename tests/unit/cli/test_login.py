"""Being let in by a code, and acting as who was."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deskmesh_cli.connection import ME, NoSignIn, Person, connected, password_of
from deskmesh_cli.device import Granted, Shown, let_in

CODES = {
    "device_code": "d",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://desk.example/device",
    "verification_uri_complete": "https://desk.example/device?user_code=WDJB-MJHT",
    "interval": 5,
}
TOKENS = {"access_token": "a", "expires_in": 600, "refresh_token": "r"}


class Provider:
    """Gives these answers, one after the other."""

    def __init__(self, *answers: tuple[int, dict[str, Any]]) -> None:
        self._answers = list(answers)
        self.pauses: list[float] = []
        self.shown: list[Shown] = []

    async def post(self, path: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        assert form["client_id"] == "deskmesh-cli"
        return self._answers.pop(0)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)

    async def let_in(self) -> Granted:
        return await let_in(self.post, self.shown.append, self.pause)


def error(word: str, **more: str) -> tuple[int, dict[str, Any]]:
    return 400, {"error": word, **more}


async def test_a_device_asks_as_often_as_it_may() -> None:
    provider = Provider(
        (200, CODES), error("authorization_pending"), error("slow_down"), error("authorization_pending"), (200, TOKENS)
    )
    assert await provider.let_in() == Granted("a", 600.0, "r")
    assert provider.pauses == [5.0, 5.0, 10.0, 10.0]
    assert [one.code for one in provider.shown] == ["WDJB-MJHT"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (((200, CODES), error("access_denied")), "said no"),
        (((200, CODES), error("expired_token")), "start again"),
        (((200, CODES), error("invalid_grant", error_description="No.")), "failed: No"),
        (((429, {"error": "temporarily_unavailable", "error_description": "Too many."}),), "Too many"),
    ],
)
async def test_what_ends_the_waiting_is_told(answers: tuple[tuple[int, dict[str, Any]], ...], words: str) -> None:
    with pytest.raises(NoSignIn, match=words):
        await Provider(*answers).let_in()


async def test_nobody_is_me_before_signing_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESKMESH_HOME", str(tmp_path))
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "ca.crt").write_text("")
    with pytest.raises(NoSignIn, match="deskmesh login"):
        async with connected(Person(role=ME)):
            pass


def test_a_fresh_proof_of_me_is_typed_by_me(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(NoSignIn, match="terminal"):
        password_of(Person(role=ME))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("typer.prompt", lambda *_, **__: "typed")
    assert password_of(Person(role=ME)) == "typed"
    assert password_of(Person(email="a@example.com", password="given")) == "given"
