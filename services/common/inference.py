"""Calls of models as every service makes them: the router names a replica, and the tokens come from there directly.

The messages are those of the contract; what goes wrong is the call's own failure.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

import grpc
import grpc.aio

from deskmesh.inference.v1 import (
    inference_service_pb2,
    inference_service_pb2_grpc,
    router_service_pb2,
    router_service_pb2_grpc,
)

REPLICA = "x-deskmesh-replica"
MODEL = "x-deskmesh-model"
ROUTE_SECONDS = 5.0
MOST_LEASES = 4096


class Placed(Protocol):
    """What names a replica."""

    @property
    def replica(self) -> str: ...


RouteT = TypeVar("RouteT", bound=Placed)


class RouteLeases(Generic[RouteT]):
    """The last route of each conversation, until its lease ends, its replica fails or says that it is busy."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._leases: OrderedDict[str, tuple[RouteT, float]] = OrderedDict()

    def find(self, conversation: str) -> RouteT | None:
        """The route that still holds, if any."""
        found = self._leases.get(conversation)
        if found is None:
            return None
        route, until = found
        if self._clock() < until:
            return route
        del self._leases[conversation]
        return None

    def keep(self, conversation: str, route: RouteT, seconds: float) -> None:
        """Take note of a route granted for so long; one without a conversation is nobody's to use again."""
        if not conversation or seconds <= 0:
            return
        self._leases[conversation] = (route, self._clock() + seconds)
        self._leases.move_to_end(conversation)
        while len(self._leases) > MOST_LEASES:
            self._leases.popitem(last=False)

    def drop(self, replica: str) -> None:
        """End every lease of this replica."""
        for conversation in [key for key, (kept, _) in self._leases.items() if kept.replica == replica]:
            del self._leases[conversation]


class RoutedModels:
    """The router, and the models behind it. A conversation's route is asked for again only when its lease has ended."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._leases: RouteLeases[router_service_pb2.RouteResponse] = RouteLeases()
        self._router = router_service_pb2_grpc.RouterServiceStub(channel)
        self._inference = inference_service_pb2_grpc.InferenceServiceStub(channel)

    async def route(self, request: router_service_pb2.RouteRequest) -> router_service_pb2.RouteResponse:
        """Where to send a request now."""
        return await self._router.Route(request, timeout=ROUTE_SECONDS)

    async def queue(self, request: router_service_pb2.RouteRequest) -> router_service_pb2.RouteResponse:
        """Where to send a request once there is room for it; `request.within` is how long it may wait.

        Raises TimeoutError when the router does not say at once how things stand.
        """
        # The router itself refuses what is late.
        seconds = request.within.ToMilliseconds() / 1000 + ROUTE_SECONDS
        call = self._router.RouteQueued(router_service_pb2.RouteQueuedRequest(route=request), timeout=seconds)
        frames = aiter(call)
        try:
            async with asyncio.timeout(ROUTE_SECONDS):
                frame = await anext(frames)
            while not frame.HasField("routed"):
                frame = await anext(frames)
        except StopAsyncIteration:
            raise TimeoutError from None
        finally:
            call.cancel()
        return frame.routed

    async def shadow(
        self, model: str, *, timeout_seconds: float
    ) -> AsyncGenerator[router_service_pb2.RouteShadowResponse, None]:
        """Where a call of the model may be repeated for a version in the shadow; it ends when that is no longer so.

        Raises TimeoutError when the router does not say at once.
        """
        request = router_service_pb2.RouteShadowRequest(model=model)
        call = self._router.RouteShadow(request, timeout=timeout_seconds + ROUTE_SECONDS)
        frames = aiter(call)
        try:
            async with asyncio.timeout(ROUTE_SECONDS):
                frame = await anext(frames, None)
            while frame is not None:
                yield frame
                frame = await anext(frames, None)
        finally:
            call.cancel()

    def leased(self, lease: str) -> router_service_pb2.RouteResponse | None:
        """The router's last answer for this lease, while it holds."""
        return self._leases.find(lease)

    def keep(self, lease: str, answered: router_service_pb2.RouteResponse) -> router_service_pb2.RouteResponse:
        """Take note of an answer for as long as it says; returns it."""
        self._leases.keep(lease, answered, answered.lease.ToMilliseconds() / 1000)
        return answered

    async def chat(
        self, request: inference_service_pb2.ChatRequest, replica: str, *, timeout_seconds: float
    ) -> AsyncGenerator[inference_service_pb2.ChatResponse, None]:
        """The frames of an answer; closing the generator frees the engine's slot."""
        call = self._inference.Chat(request, timeout=timeout_seconds, metadata=to(request.model, replica))
        try:
            with self._unless_it_fails(replica):
                async for frame in call:
                    if frame.finished.route_again:
                        self._leases.drop(replica)
                    yield frame
        finally:
            call.cancel()

    async def score(
        self, request: inference_service_pb2.ScoreRequest, replica: str, *, timeout_seconds: float
    ) -> inference_service_pb2.ScoreResponse:
        """How likely targets are after their contexts."""
        with self._unless_it_fails(replica):
            return await self._inference.Score(request, timeout=timeout_seconds, metadata=to(request.model, replica))

    async def list_models(self) -> router_service_pb2.ListModelsResponse:
        """The models there are."""
        return await self._router.ListModels(router_service_pb2.ListModelsRequest(), timeout=ROUTE_SECONDS)

    @contextmanager
    def _unless_it_fails(self, replica: str) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            # What was wrong with the request would be wrong anywhere.
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                self._leases.drop(replica)
            raise


def to(model: str, replica: str) -> tuple[tuple[str, str], ...]:
    """The headers by which Envoy finds the replica; any of the model's when none is named."""
    named = ((MODEL, model),)
    return (*named, (REPLICA, replica)) if replica else named
