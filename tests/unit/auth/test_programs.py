"""Seeing which programs one has let in, and putting them out, on ports in memory."""

from datetime import timedelta

import pytest

from services.auth.audit import EventType
from services.auth.errors import RefreshTokenInvalid
from services.auth.oauth import COMMAND_LINE
from services.auth.usecases.consents import Answerer
from services.auth.usecases.programs import Programs
from tests.unit.auth.test_oauth import BACK, CLIENTS, SECRET, Door, refusal


class Desk(Door):
    """The door, and the list of who came in by it."""

    def __init__(self) -> None:
        super().__init__()
        self.programs = Programs(self.desk.work, CLIENTS, self.desk.announcer, self.desk.clock)

    async def let_the_shop_in(self, me: Answerer) -> None:
        code = await self.code(me, client_id="shop", redirect_uri=BACK, scope="openid email")
        await self.redeem(code, client_id="shop", client_secret=SECRET, redirect_uri=BACK)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_each_program_is_listed_once_with_all_it_may(desk: Desk) -> None:
    me = await desk.person()
    assert await desk.programs.list(me.user_id) == []
    await desk.redeem(await desk.code(me, scope="openid"))
    desk.desk.now += timedelta(minutes=1)
    await desk.redeem(await desk.code(me))
    await desk.let_the_shop_in(me)
    cli, shop = await desk.programs.list(me.user_id)
    assert (cli.client_id, cli.name, cli.sign_ins) == (COMMAND_LINE.id, COMMAND_LINE.name, 2)
    assert (cli.scopes, cli.let_in_at) == (("openid", "deskmesh"), desk.desk.now)
    assert (shop.client_id, shop.scopes) == ("shop", ("openid", "email"))
    assert await desk.programs.list("usr_another") == []


async def test_what_can_renew_nothing_any_more_is_not_listed(desk: Desk) -> None:
    me = await desk.person()
    await desk.redeem(await desk.code(me))
    desk.desk.now += timedelta(days=30)
    assert await desk.programs.list(me.user_id) == []


async def test_putting_a_program_out_ends_its_sign_ins_and_nobody_elses(desk: Desk) -> None:
    me = await desk.person()
    issued = await desk.redeem(await desk.code(me))
    await desk.redeem(await desk.code(me))
    await desk.let_the_shop_in(me)
    assert await desk.programs.revoke("usr_another", COMMAND_LINE.id) == 0
    assert await desk.programs.revoke(me.user_id, COMMAND_LINE.id) == 2
    assert [one.client_id for one in await desk.programs.list(me.user_id)] == ["shop"]
    with pytest.raises(RefreshTokenInvalid):
        await desk.desk.sessions.refresh(issued.pair.refresh)
    # The person's own sign-in goes on.
    assert await desk.desk.sessions.refresh(desk.refresh_token)
    assert len(desk.desk.announcer.announced) == 2
    revoked = [event for event in desk.desk.work.store.events if event.type is EventType.CONSENT_REVOKED]
    assert [(event.actor_id, event.details["client_id"]) for event in revoked] == [(me.user_id, COMMAND_LINE.id)] * 2
    assert await desk.programs.revoke(me.user_id, COMMAND_LINE.id) == 0


async def test_a_code_that_was_not_redeemed_yet_buys_nothing_then(desk: Desk) -> None:
    me = await desk.person()
    code = await desk.code(me)
    await desk.programs.revoke(me.user_id, COMMAND_LINE.id)
    assert await refusal(desk.redeem(code)) == "invalid_grant"
