"""Groups at the provider that give roles here, and the command that says which."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from deskmesh.auth.v1 import auth_service_pb2, user_pb2
from deskmesh.auth.v1.identity_provider_pb2 import GroupRole
from deskmesh.auth.v1.organization_service_pb2 import BatchGetMembersRequest
from deskmesh.auth.v1.organization_service_pb2_grpc import OrganizationServiceStub
from deskmesh_cli import records
from deskmesh_cli.main import build
from tests.integration.auth.acme import CLIENT_ID, SECRET, signed
from tests.integration.auth.provider_house import PUBLIC, House, bearer
from tests.support.server import refused


async def set_roles(house: House, *names: str) -> None:
    """What the groups of these names give."""
    roles = {"desk": user_pb2.ROLE_AGENT, "leads": user_pb2.ROLE_SUPERVISOR}
    rules = [GroupRole(group=name, role=roles[name]) for name in names]
    shown = await house.set_up(role=user_pb2.ROLE_CUSTOMER, group_roles=rules)
    assert list(shown.group_roles) == rules
    assert (shown.groups_claim, shown.backchannel_logout_uri) == ("groups", f"{PUBLIC}/oauth/backchannel_logout")


async def test_groups_there_give_roles_here_and_take_them(house: House) -> None:
    await set_roles(house, "desk", "leads")
    person = house.newcomer(groups=["desk", "leads", "others"])
    first = await house.enter(person)
    assert list(first.principal.roles) == [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT, user_pb2.ROLE_SUPERVISOR]
    house.acme.people[person]["groups"] = ["desk"]
    again = await house.enter(person)
    assert list(again.principal.roles) == [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT]
    # The token that said more holds no longer; the sign-in goes on with less.
    async with refused() as refusal:
        await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(first))
    assert refusal.error.reason == "TOKEN_REVOKED"
    request = auth_service_pb2.RefreshTokenRequest(refresh_token=first.tokens.refresh_token)
    renewed = await house.auth.auth.RefreshToken(request)
    me = await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(renewed))
    assert me.principal.roles == again.principal.roles
    members = OrganizationServiceStub(house.auth.service.channel("edge"))
    asked = BatchGetMembersRequest(user_ids=[first.principal.user.id])
    (member,) = (await members.BatchGetMembers(asked, metadata=house.owner.headers)).members
    assert list(member.group_roles) == [user_pb2.ROLE_AGENT]
    # Whose groups are not told is in none; and what no group gives any more is gone without a sign-in.
    del house.acme.people[person]["groups"]
    assert list((await house.enter(person)).principal.roles) == [user_pb2.ROLE_CUSTOMER]
    house.acme.people[person]["groups"] = "desk"
    await house.enter(person)
    await set_roles(house, "leads")
    (member,) = (await members.BatchGetMembers(asked, metadata=house.owner.headers)).members
    assert list(member.roles) == [user_pb2.ROLE_CUSTOMER]


async def test_groups_of_the_signed_answer_count_before_those_of_the_other(house: House) -> None:
    await set_roles(house, "desk", "leads")
    house.acme.tokens = signed(house.acme.provider.signing_key, groups=["desk"])
    entered = await house.enter(house.newcomer(groups=["leads"]))
    assert list(entered.principal.roles) == [user_pb2.ROLE_CUSTOMER, user_pb2.ROLE_AGENT]


@pytest.mark.parametrize(
    "groups",
    [{"desk": True}, ["desk", 5], [["desk"]], [str(number) for number in range(1001)]],
    ids=lambda value: str(value)[:20],
)
async def test_groups_that_cannot_be_read_let_nobody_in(house: House, groups: Any) -> None:
    await set_roles(house, "desk")
    house.acme.tokens = signed(house.acme.provider.signing_key, groups=groups)
    async with refused() as refusal:
        await house.enter(house.newcomer())
    assert refusal.error.reason == "IDENTITY_NOT_ALLOWED"
    assert refusal.error.metadata["because"] == "groups_unreadable"


class Typed:
    """`deskmesh sso`, typed by the owner: its request and its words, with the test's own way to the service."""

    def __init__(self, house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._house = house
        self._capsys = capsys
        self._work: list[Callable[[], Coroutine[Any, Any, int]]] = []
        monkeypatch.setattr(records, "connected", self._connected)
        monkeypatch.setattr(records, "run", lambda work, as_json: self._work.append(work))

    async def __call__(self, *arguments: str) -> str:
        result = CliRunner().invoke(build(), ["sso", *arguments])
        assert result.exit_code == 0, result.output
        await self._work.pop()()
        return self._capsys.readouterr().out

    @contextlib.asynccontextmanager
    async def _connected(self, _person: Any) -> AsyncIterator[Any]:
        calls = {
            name: functools.partial(call, metadata=self._house.owner.headers)
            for name, call in vars(self._house.stub).items()
        }
        yield SimpleNamespace(identity_providers=SimpleNamespace(**calls))


async def test_the_command_line_sets_groups_shows_what_to_register_and_unlinks(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sso = Typed(house, monkeypatch, capsys)
    house.changed = True
    said = ["set", "Acme", house.acme.issuer, CLIENT_ID, "--domain", "acme.example", "--create-users"]
    told = await sso(*said, "--group", "cn=desk,o=acme=agent")
    assert "by the claim groups" in told
    assert "cn=desk,o=acme → agent" in told
    entered = await house.enter(house.newcomer(groups=["cn=desk,o=acme"]))
    assert user_pb2.ROLE_AGENT in entered.principal.roles
    shown = await sso("show")
    assert f"logout URI    {PUBLIC}/oauth/backchannel_logout" in shown
    assert SECRET not in shown
    unlinked = await sso("unlink-member", entered.principal.user.id)
    assert unlinked == "1 identities removed; 1 sign-ins ended.\n"
    async with refused() as refusal:
        await house.auth.auth.WhoAmI(auth_service_pb2.WhoAmIRequest(), metadata=bearer(entered))
    assert refusal.error.reason == "TOKEN_REVOKED"
    assert "give no roles" in await sso(*said)
