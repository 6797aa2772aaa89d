"""Limits at the edge: each person, organization and address has its own, and who exceeds one is told for how long."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from mesh.policy.limits import ADDRESS, ORGANIZATION, PERSON, Limit
from mesh.policy.table import RateClass
from tests.integration.mesh.envoys import Ground, call, eventually, method, recorder
from tests.support.pki import TokenIssuer
from tests.support.server import new_folder, remove_folder

READ = "/deskmesh.auth.v1.AuthService/WhoAmI"
WRITE = "/deskmesh.auth.v1.AuthService/Write"
SIGN_IN = "/deskmesh.auth.v1.AuthService/SignIn"
METHODS = (
    method(READ),
    method(WRITE, rate_class=RateClass.WRITE),
    method(SIGN_IN, anonymous=True, rate_class=RateClass.CREDENTIAL),
)
LIMITS = (
    Limit(RateClass.WRITE, PERSON, per_second=1, burst=3),
    Limit(RateClass.WRITE, ORGANIZATION, per_second=1, burst=8),
    Limit(RateClass.CREDENTIAL, ADDRESS, per_second=1, burst=4),
)
CALLS = 12


class Edge:
    """The edge with small limits."""

    def __init__(self, ground: Ground, tokens: TokenIssuer) -> None:
        self._tokens = tokens
        self.channel = ground.channel(ground.topology.edge_port, None)

    def bearer(self, person: str, organization: str) -> dict[str, Any]:
        token = self._tokens.token(organization_id=organization, user_id=person, roles=("agent",))
        return {"authorization": f"Bearer {token}"}

    async def flood(self, path: str, **metadata: Any) -> list[grpc.aio.AioRpcError]:
        """Many calls at once; those that were refused."""
        calls = [call(self.channel, path, **metadata) for _ in range(CALLS)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        return [result for result in results if isinstance(result, grpc.aio.AioRpcError)]


@pytest_asyncio.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    folder = new_folder()
    ground, tokens = Ground.make(folder), TokenIssuer()
    ground.topology = replace(ground.topology, limits=LIMITS)
    jwks = await tokens.serve(ground.topology.run / "auth.ops.sock")
    port = ground.topology.upstreams[0].port
    async with recorder("auth", port, ground, "auth"), ground.envoy("edge", METHODS):
        edge = Edge(ground, tokens)
        await eventually(lambda: _gets_in(edge), "the edge has fetched the keys")
        yield edge
        await edge.channel.close()
    await jwks.cleanup()
    remove_folder(folder)


async def _gets_in(edge: Edge) -> bool:
    try:
        await call(edge.channel, READ, **edge.bearer("somebody", "somewhere"))
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_person_who_calls_too_often_waits_while_a_colleague_does_not(edge: Edge) -> None:
    refused = await edge.flood(WRITE, **edge.bearer("ann", "shop"))
    # One more may have come in while the bucket was filled.
    assert len(refused) in (CALLS - 3, CALLS - 4)
    assert await call(edge.channel, WRITE, **edge.bearer("bob", "shop"))


async def test_the_people_of_an_organization_share_its_limit_and_others_do_not(edge: Edge) -> None:
    people = [edge.bearer(f"person {number}", "busy") for number in range(5)]
    refused = [await edge.flood(WRITE, **person) for person in people]
    assert 5 * CALLS - sum(map(len, refused)) <= 8 + 5
    assert await call(edge.channel, WRITE, **edge.bearer("eve", "quiet"))


async def test_other_classes_are_counted_apart(edge: Edge) -> None:
    cora = edge.bearer("cora", "house")
    assert await edge.flood(WRITE, **cora)
    assert not await edge.flood(READ, **cora)


async def test_without_a_token_the_address_counts(edge: Edge) -> None:
    assert len(await edge.flood(SIGN_IN)) in (CALLS - 4, CALLS - 5)


async def test_the_refusal_is_typed_and_says_how_long_to_wait(edge: Edge) -> None:
    refused = (await edge.flood(WRITE, **edge.bearer("dan", "firm")))[0]
    trailers = dict(refused.trailing_metadata() or ()) | dict(refused.initial_metadata() or ())
    status, info, retry = status_pb2.Status(), error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status.ParseFromString(trailers["grpc-status-details-bin"])
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(retry)
    assert (refused.code(), info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
    assert retry.retry_delay.seconds == 1
    assert trailers["x-ratelimit-remaining"] == "0"
    assert int(trailers["x-ratelimit-reset"]) >= 0


@pytest.mark.parametrize("forged", ["203.0.113.1", "203.0.113.2"])
async def test_a_made_up_address_is_not_counted_for(edge: Edge, forged: str) -> None:
    assert len(await edge.flood(SIGN_IN, x_forwarded_for=forged)) >= CALLS - 5
