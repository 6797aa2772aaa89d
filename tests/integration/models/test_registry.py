"""The registry over the wire: who may do what, what is kept, and what the routers hear of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from deskmesh.inference.v1 import router_service_pb2, router_service_pb2_grpc
from deskmesh.models.v1 import model_pb2
from deskmesh.models.v1 import model_service_pb2 as pb
from services.common.ids import new_id
from tests.integration.models.conftest import NAMES, Desk, Routing
from tests.support.server import RunningService, refused


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    """Wait for what the service does by itself."""
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


async def test_a_model_is_known_once_in_an_environment(desk: Desk) -> None:
    name = desk.new_name()
    request = pb.RegisterModelRequest(
        request_id=new_id("req"),
        name=name,
        environment="lab",
        endpoint="lab:443",
        namespace="support",
        metadata={"licence": "Apache-2.0"},
        reason="first try",
    )
    made = (await desk.stub.RegisterModel(request, metadata=desk.headers)).model
    assert (made.name, made.environment, made.endpoint, made.namespace) == (name, "lab", "lab:443", "support")
    assert made.enabled
    assert dict(made.metadata) == {"licence": "Apache-2.0"}
    assert made.health == model_pb2.MODEL_HEALTH_UNSPECIFIED

    again = (await desk.stub.RegisterModel(request, metadata=desk.headers)).model
    assert again == made, "a repeat has no further effect"
    async with refused() as refusal:
        await desk.register(name)
    assert refusal.error.reason == "MODEL_EXISTS"
    await desk.register(name, environment="other")

    get = pb.GetModelRequest(name=name, environment="lab")
    assert (await desk.stub.GetModel(get, metadata=desk.headers)).model == made
    async with refused() as refusal:
        await desk.stub.GetModel(pb.GetModelRequest(name=name, environment="nowhere"), metadata=desk.headers)
    assert refusal.error.reason == "MODEL_NOT_FOUND"


async def test_a_list_goes_by_environment_and_name_in_pages(desk: Desk) -> None:
    environment = f"e{new_id('x')[-20:]}"
    names = sorted(desk.new_name() for _ in range(5))
    for name in reversed(names):
        await desk.register(name, environment=environment)
    found: list[str] = []
    token = ""
    while True:
        request = pb.ListModelsRequest(environment=environment, page_size=2, page_token=token)
        page = await desk.stub.ListModels(request, metadata=desk.headers)
        found += [one.name for one in page.models]
        token = page.next_page_token
        if not token:
            break
    assert found == names
    async with refused() as refusal:
        await desk.stub.ListModels(pb.ListModelsRequest(page_token="bm8"), metadata=desk.headers)
    assert refusal.error.reason == "INVALID_PAGE_TOKEN"


async def test_changes_name_what_was_read_and_leave_a_history(desk: Desk) -> None:
    name = desk.new_name()
    made = await desk.register(name)
    disable = pb.DisableModelRequest(name=name, environment="lab", etag=made.etag, reason="too slow")
    off = (await desk.stub.DisableModel(disable, metadata=desk.headers)).model
    assert not off.enabled
    assert off.etag != made.etag
    async with refused() as refusal:
        await desk.stub.EnableModel(
            pb.EnableModelRequest(name=name, environment="lab", etag=made.etag), metadata=desk.headers
        )
    assert refusal.error.reason == "STALE_ETAG"
    promote = pb.PromoteModelRequest(name=name, environment="lab", to_environment="prod")
    async with refused() as refusal:
        await desk.stub.PromoteModel(promote, metadata=desk.headers)
    assert refusal.error.reason == "MODEL_NOT_ENABLED"
    enable = pb.EnableModelRequest(name=name, environment="lab", etag=off.etag)
    on = (await desk.stub.EnableModel(enable, metadata=desk.headers)).model
    assert (
        await desk.stub.EnableModel(enable.__class__(name=name, environment="lab"), metadata=desk.headers)
    ).model == on
    promoted = (await desk.stub.PromoteModel(promote, metadata=desk.headers)).model
    assert (promoted.environment, promoted.endpoint, promoted.enabled) == ("prod", "lab:443", True)
    assert promoted.metadata["promoted_from"] == "lab"

    request = pb.ListModelEventsRequest(name=name, page_size=3)
    first = await desk.stub.ListModelEvents(request, metadata=desk.headers)
    request.page_token = first.next_page_token
    second = await desk.stub.ListModelEvents(request, metadata=desk.headers)
    events = [*first.events, *second.events]
    assert [one.action for one in events] == [
        model_pb2.MODEL_ACTION_PROMOTED,
        model_pb2.MODEL_ACTION_ENABLED,
        model_pb2.MODEL_ACTION_DISABLED,
        model_pb2.MODEL_ACTION_REGISTERED,
    ]
    assert {one.actor for one in events} == {"usr_engineer"}
    assert events[2].reason == "too slow"
    assert not second.next_page_token


@pytest.mark.parametrize(
    ("workload", "role", "reason"),
    [("edge", "owner", "WORKLOAD_NOT_ALLOWED"), ("laptop", "admin", "PERMISSION_MISSING")],
)
async def test_it_takes_the_operators_certificate_and_a_persons_permission(
    running: RunningService, organization_id: str, workload: str, role: str, reason: str
) -> None:
    intruder = Desk(running, running.person(organization_id, "usr_intruder", role))
    call = running.channel(workload).unary_unary(
        "/deskmesh.models.v1.ModelService/DisableModel",
        request_serializer=pb.DisableModelRequest.SerializeToString,
        response_deserializer=pb.DisableModelResponse.FromString,
    )
    async with refused() as refusal:
        await call(pb.DisableModelRequest(name=NAMES[0]), metadata=intruder.headers)
    assert refusal.error.reason == reason


async def test_the_routers_models_register_themselves_with_how_they_fare(desk: Desk, routing: Routing) -> None:
    async def registered() -> bool:
        answer = await desk.stub.ListModels(pb.ListModelsRequest(environment="dev"), metadata=desk.headers)
        return {one.name for one in answer.models} >= set(NAMES)

    await until(registered)
    first = (await desk.stub.GetModel(pb.GetModelRequest(name=NAMES[0]), metadata=desk.headers)).model
    second = (await desk.stub.GetModel(pb.GetModelRequest(name=NAMES[1]), metadata=desk.headers)).model
    assert first.health == model_pb2.MODEL_HEALTH_SERVING
    assert second.health == model_pb2.MODEL_HEALTH_DOWN
    assert first.HasField("health_checked_at")
    assert first.endpoint == routing.service.address


async def test_a_disabled_model_is_out_of_routing_until_it_is_enabled(desk: Desk, routing: Routing) -> None:
    name = NAMES[0]

    async def known() -> bool:
        answer = await desk.stub.ListModels(pb.ListModelsRequest(environment="dev"), metadata=desk.headers)
        return name in {one.name for one in answer.models}

    async def told_off() -> bool:
        routing.servicer.learn_registry(routing.board.registry())
        return name in routing.servicer.registry.disabled

    async def told_on() -> bool:
        return not await told_off()

    await until(known)
    router = router_service_pb2_grpc.RouterServiceStub(routing.service.channel("orchestrator"))
    await router.Route(router_service_pb2.RouteRequest(model=name))
    await desk.stub.DisableModel(pb.DisableModelRequest(name=name), metadata=desk.headers)
    await until(told_off)
    async with refused() as refusal:
        await router.Route(router_service_pb2.RouteRequest(model=name))
    assert refusal.error.reason == "MODEL_UNAVAILABLE"
    listed = await router.ListModels(router_service_pb2.ListModelsRequest())
    assert {one.profile.name: one.disabled for one in listed.models} == {NAMES[0]: True, NAMES[1]: False}
    assert listed.HasField("registry_as_of")
    await desk.stub.EnableModel(pb.EnableModelRequest(name=name), metadata=desk.headers)
    await until(told_on)
    await router.Route(router_service_pb2.RouteRequest(model=name))


async def test_reads_come_from_the_cache_until_something_changes(
    desk: Desk, running: RunningService, models_redis: str
) -> None:
    name = desk.new_name()
    await desk.register(name)
    get = pb.GetModelRequest(name=name, environment="lab")
    await desk.stub.GetModel(get, metadata=desk.headers)
    store = redis.asyncio.Redis.from_url(models_redis, decode_responses=True)
    prefix = "deskmesh:models:registry:dev"
    generation = int(str(await store.get(f"{prefix}:generation")))
    assert name in str(await store.get(f"{prefix}:{generation}"))
    assert 0 < await store.ttl(f"{prefix}:{generation}") <= 120
    await desk.stub.DisableModel(pb.DisableModelRequest(name=name, environment="lab"), metadata=desk.headers)
    assert not (await desk.stub.GetModel(get, metadata=desk.headers)).model.enabled
    assert int(str(await store.get(f"{prefix}:generation"))) > generation
    await store.aclose()
