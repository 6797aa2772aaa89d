"""Deployments from the call to the replica: how they begin, move, and end."""

import json
from collections.abc import AsyncIterator, Callable

import pytest

from deskmesh.models.v1 import deployment_service_pb2 as pb
from serve_apps.assistant.engines.base import Delta, Finished, FinishReason, Usage
from serve_apps.assistant.versions import version_of
from services.common.ids import new_id
from tests.integration.models.house import CANARY, MODEL, PROMOTED, ROLLED_BACK, House, models_of, text
from tests.support.server import refused


async def test_a_good_target_goes_all_the_way_and_one_command_goes_back(house: House) -> None:
    old = house.serving_text()
    new = text(1)
    begun = await house.deploy(new, reason="more room", steps=[20])
    ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert (ended.state, ended.percent, ended.failure) == (PROMOTED, 100, "")
    assert ended.current
    assert (ended.actor, ended.reason, ended.file) == ("usr_engineer", "more room", "t.yaml")
    assert {gate.name for gate in ended.gates} == {
        "errors",
        "first token",
        "tokens/s",
        "grounded",
        "cost",
        "template",
        "live errors",
        "turns",
        "feedback",
        "turns in the shadow",
        "cost of the shadow",
    }
    assert all(gate.passed and not gate.undecided for gate in ended.gates)
    (few,) = [gate.explanation for gate in ended.gates if gate.name == "turns"]
    assert few.startswith("not enough turns to compare, 0 of it and 0 of what serves, 10 of each are needed")
    await house.until_served(new)
    assert (await house.route("c")).version == version_of(models_of(new)[0])
    assert (await house.route("c")).replica == f"replica-of-words-{version_of(models_of(new)[0])}"

    request = pb.RollBackRequest(request_id=new_id("req"), reason="a whim")
    back = (await house.stub.RollBack(request, metadata=house.headers)).deployment
    ended = await house.until(back.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert (ended.state, ended.text, ended.reason) == (PROMOTED, old, "a whim")
    await house.until_served(old)
    page = await house.stub.ListDeployments(pb.ListDeploymentsRequest(page_size=2), metadata=house.headers)
    assert [one.id for one in page.deployments] == [back.id, begun.id]
    assert [one.current for one in page.deployments] == [True, False]


async def test_other_routing_takes_effect_at_once_without_a_version_and_can_be_taken_back(house: House) -> None:
    await house.until_served(house.serving_text())
    old = json.loads(house.serving_text())
    assert (await house.route("c")).lease.ToTimedelta().total_seconds() == 5
    changed = json.dumps(old | {"router": {"lease_seconds": 2}})
    begun = await house.deploy(changed, reason="shorter leases")
    assert "it takes effect at once" in "".join(begun.notes)
    ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert (ended.state, ended.failure, list(ended.gates)) == (PROMOTED, "", [])
    await house.until_served(changed)
    await house.until_leased(2)
    back = (await house.stub.RollBack(pb.RollBackRequest(request_id=new_id("req")), metadata=house.headers)).deployment
    await house.until(back.id, lambda one: one.state is PROMOTED)
    await house.until_leased(5)


async def _broken(*_: object) -> AsyncIterator[Delta | Finished]:
    raise RuntimeError("the template is broken")
    yield


async def _silent(*_: object) -> AsyncIterator[Delta | Finished]:
    yield Finished(FinishReason.STOP, Usage(10, 0, 0))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (None, "no such weights"),
        (_broken, "6 of 6 golden questions failed: INTERNAL"),
        (_silent, "6 of 6 golden questions failed: NOTHING_WRITTEN"),
    ],
    ids=["at start", "in its answers", "without a word"],
)
async def test_a_bad_target_goes_back_by_itself_and_touches_nothing(
    house: House, broken: Callable[..., AsyncIterator[Delta | Finished]] | None, said: str
) -> None:
    old = house.serving_text()
    before = (await house.route("c")).replica
    if broken is None:
        house.site.trouble = "RuntimeError: no such weights"
    else:
        house.engine.generate = broken  # type: ignore[assignment]
    begun = await house.deploy(text(2))
    ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
    assert ended.state == ROLLED_BACK
    assert said in ended.failure
    assert not ended.current
    assert house.serving_text() == old
    assert (await house.route("c")).replica == before


async def test_a_restart_in_the_middle_goes_on_where_it_stopped(house: House) -> None:
    new = text(11)
    async with house.restarted(share_seconds=60.0):
        begun = await house.deploy(new, steps=[20])
        await house.until(begun.id, lambda one: one.state == CANARY)
        async with house.restarted(share_seconds=0.05):
            ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
            assert (ended.state, ended.failure) == (PROMOTED, "")
            await house.until_served(new)


async def test_a_model_that_falls_asleep_while_it_is_tried_is_promoted_asleep(house: House) -> None:
    new = text(13, autoscaling={"min_replicas": 0})
    async with house.restarted(last_share_seconds=1.0):
        begun = await house.deploy(new, steps=[20])
        await house.until(begun.id, lambda one: one.state == CANARY)
        del house.site.reports[f"words-{version_of(models_of(new)[0])}"]
        ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
        assert (ended.state, ended.failure) == (PROMOTED, "")
        await house.until_served(new)


async def test_what_fails_while_the_service_is_away_goes_back_when_it_returns(house: House) -> None:
    old = house.serving_text()
    house.site.deploy = lambda name, model: None  # type: ignore[method-assign]
    begun = await house.deploy(text(12))
    await house.service.stop()
    house.site.troubles[f"words-{version_of(models_of(text(12))[0])}"] = "RuntimeError: out of memory"
    async with house.restarted():
        ended = await house.until(begun.id, lambda one: one.state in (PROMOTED, ROLLED_BACK))
        assert (ended.state, ended.failure) == (ROLLED_BACK, "RuntimeError: out of memory")
        await house.until_served(old)


async def test_one_at_a_time_and_taken_back_by_hand(house: House) -> None:
    # It never becomes ready, so that there is something to take back.
    house.site.deploy = lambda name, model: None  # type: ignore[method-assign]
    begun = await house.deploy(text(3))
    async with refused() as refusal:
        await house.deploy(text(4))
    assert refusal.error.reason == "DEPLOYMENT_IN_PROGRESS"
    request = pb.RollBackRequest(request_id=new_id("req"), reason="on second thoughts")
    taken = (await house.stub.RollBack(request, metadata=house.headers)).deployment
    assert (taken.id, taken.state, taken.failure) == (begun.id, ROLLED_BACK, "by hand: on second thoughts")
    async with refused() as refusal:
        await house.stub.RollBack(pb.RollBackRequest(request_id=new_id("req")), metadata=house.headers)
    assert refusal.error.reason == "NOTHING_TO_ROLL_BACK"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("models: [", "t.yaml:1"),
        (text(5, context_length=1), "t.yaml:1: models[0].context_length"),
        (text(5, name="simulated-other"), "names and applications must be those that run"),
    ],
    ids=["no YAML", "a field", "another model"],
)
async def test_a_file_that_cannot_be_deployed_is_refused_by_line_and_field(
    house: House, target: str, said: str
) -> None:
    async with refused() as refusal:
        await house.deploy(target)
    assert refusal.error.reason == "TARGET_INVALID"
    assert said in str(refusal.error.violations)


async def test_a_check_begins_nothing_and_what_serves_is_nothing_new(house: House) -> None:
    request = pb.DeployRequest(request_id=new_id("req"), file="t.yaml", text=text(6), check_only=True)
    answer = await house.stub.Deploy(request, metadata=house.headers)
    assert not answer.HasField("deployment")
    assert answer.notes == [f"{MODEL}: simulated, no model at all"]
    async with refused() as refusal:
        await house.deploy(house.serving_text())
    assert "nothing differs" in str(refusal.error.violations)
