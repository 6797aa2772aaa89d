"""Deployments that are judged by turns of customers: those that they serve, and those that they repeat unseen."""

from deskmesh.sessions.v1 import message_pb2
from serve_apps.assistant.versions import version_of
from services.models.limits import TooFew
from tests.integration.models.house import CANARY, GATES, PROMOTED, ROLLED_BACK, SHADOW, House, models_of, text


async def test_turns_of_customers_take_it_back_also_after_a_restart(house: House) -> None:
    old = house.serving_text()
    before, after = (version_of(models_of(one)[0]) for one in (old, text(21)))
    # Before its first share, so of no account.
    await house.converse(after, range(100, 150), seconds=9.0)
    async with house.restarted(share_seconds=60.0):
        begun = await house.deploy(text(21), steps=[50])
        await house.until(begun.id, lambda one: one.state == CANARY)
        await house.converse(before, range(12))
        await house.converse(after, range(9), seconds=2.5)
        await house.publish("orchestrator:turn.measured", b"not a turn")
        async with house.restarted(share_seconds=60.0):
            await house.converse(after, range(9, 10), seconds=2.5)
            ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert ended.state == ROLLED_BACK
    assert ended.failure == "ranking of turns: 2.50 s, at most 1.30 s; now 0.10 s"
    assert {gate.name: gate.passed for gate in ended.gates}["ranking of turns"] is False
    assert house.serving_text() == old


async def test_a_share_that_is_held_for_ratings_of_customers_is_taken_back_by_them(house: House) -> None:
    before, after = (version_of(models_of(one)[0]) for one in (house.serving_text(), text(22)))
    async with house.restarted(gates=GATES.model_copy(update={"few_ratings": TooFew.HOLD})):
        begun = await house.deploy(text(22), steps=[50])
        held = await house.until(begun.id, lambda one: any(gate.undecided for gate in one.gates))
        assert (held.state, held.percent) == (CANARY, 50)
        for version in (before, after):
            await house.converse(version, range(14))
        await house.rate(before, range(10), message_pb2.RATING_UP)
        # Rated anew, and taken back: only the last word counts. Never are there ten, so nothing is judged in between.
        await house.rate(after, range(13, 14), message_pb2.RATING_UP)
        await house.rate(after, range(13, 14), message_pb2.RATING_UNSPECIFIED)
        await house.rate(after, range(9), message_pb2.RATING_UP)
        await house.rate(after, range(9), message_pb2.RATING_DOWN)
        await house.rate("somebody else's", range(99), message_pb2.RATING_UP)
        assert (await house.get(begun.id)).state == CANARY
        await house.rate(after, range(9, 10), message_pb2.RATING_DOWN)
        ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert (ended.state, ended.failure) == (ROLLED_BACK, "feedback: 10 of 10 did not help, at most 56%; now 0 of 10")


async def test_turns_that_are_repeated_in_the_shadow_take_it_back_before_anybody_is_served(house: House) -> None:
    new = text(23, cost={"input_per_million": 2.0})
    before, after = (version_of(models_of(one)[0]) for one in (house.serving_text(), new))
    gates = GATES.model_copy(update={"few_shadow_turns": TooFew.HOLD, "shadow_percent": 40})
    async with house.restarted(gates=gates):
        begun = await house.deploy(new, steps=[50])
        held = await house.until(begun.id, lambda one: any(gate.undecided for gate in one.gates))
        assert (held.state, held.percent) == (SHADOW, 0)
        route = await house.route("c")
        assert (route.version, route.shadow_percent) == (before, 40)
        places = house.shadow()
        assert (await anext(places)).version == after
        await house.converse(before, range(12))
        await house.repeat(before, after, range(9), seconds=2.5)
        async with house.restarted():
            await house.repeat(before, after, range(9, 10), seconds=2.5)
            ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
            # Who repeats a turn is told that it is over.
            assert [place async for place in places] == []
            assert (await house.route("c")).shadow_percent == 0
    assert (ended.state, ended.percent) == (ROLLED_BACK, 0)
    assert ended.failure == "ranking of turns in the shadow: 2.50 s, at most 1.30 s; now 0.10 s"
    (cost,) = [gate.explanation for gate in ended.gates if gate.name == "cost of the shadow"]
    assert cost == "0.02 for 10000 tokens of prompts and 0 written; no customer pays for it"
