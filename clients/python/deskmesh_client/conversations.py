"""Asking the assistant and following a conversation."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc

from deskmesh.orchestrator.v1 import orchestrator_service_pb2, orchestrator_service_pb2_grpc
from deskmesh.orchestrator.v1.turn_pb2 import Turn
from deskmesh.sessions.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from deskmesh.sessions.v1.event_pb2 import ConversationEvent
from deskmesh.sessions.v1.message_pb2 import Citation
from deskmesh_client.errors import DeskmeshError
from deskmesh_client.interceptors import ATTEMPTS, RENEWABLE, backoff_seconds

RESUMABLE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
# A watcher waits out the restart of a service, not an outage: its user should hear of that.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer, following the piece before."""

    text: str


@dataclass(frozen=True, slots=True)
class Cited:
    """The answer cites a passage under a marker, from 1."""

    number: int
    citation: Citation


@dataclass(frozen=True, slots=True)
class Finished:
    """The end: the whole turn with its decision, citations, steps and usage."""

    turn: Turn


Frame = Delta | Cited | Finished


async def run_turn(
    stub: "orchestrator_service_pb2_grpc.OrchestratorServiceAsyncStub",
    conversation_id: str,
    text: str,
    *,
    metadata: tuple[tuple[str, str], ...] = (),
) -> AsyncIterator[Frame]:
    """Send a message and yield the frames of its answer.

    The turn outlives the call: when the connection breaks, the call is made again under the same request_id, which
    joins the turn from its start; pieces that were yielded already are left out. Raises DeskmeshError.
    """
    request = orchestrator_service_pb2.RunTurnRequest(
        request_id=uuid.uuid4().hex, conversation_id=conversation_id, text=text
    )
    yielded = 0
    for attempt in range(ATTEMPTS):
        seen = 0
        try:
            async for response in stub.RunTurn(request, metadata=metadata):
                frame = _frame(response)
                if frame is None:
                    continue
                seen += 1
                if seen > yielded or isinstance(frame, Finished):
                    yielded = max(yielded, seen)
                    yield frame
                if isinstance(frame, Finished):
                    return
        except DeskmeshError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE or error.reason == "TURN_LOST" or attempt + 1 == ATTEMPTS:
                raise
            await asyncio.sleep(max(0.5, backoff_seconds(attempt, error)))


def _frame(response: orchestrator_service_pb2.RunTurnResponse) -> Frame | None:
    match response.WhichOneof("frame"):
        case "delta":
            return Delta(response.delta.text)
        case "citation":
            return Cited(response.citation.number, response.citation.citation)
        case "finished":
            return Finished(response.finished.turn)
    return None


async def watch(
    stub: "conversation_service_pb2_grpc.ConversationServiceAsyncStub",
    conversation_id: str,
    from_offset: int = 0,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> AsyncIterator[ConversationEvent]:
    """Yield the events after `from_offset` for ever, or until the conversation is closed: each once, in order.

    A broken or cut stream is resumed after the last event that was yielded, also when the access token that opened it
    has ended. Raises DeskmeshError on anything else, and when it could not be resumed for `patience_seconds`.
    """
    offset, failures, first_failure = from_offset, 0, 0.0
    while True:
        request = conversation_service_pb2.WatchRequest(conversation_id=conversation_id, from_offset=offset)
        try:
            async for response in stub.Watch(request):
                failures = 0
                if response.HasField("event") and response.event.offset > offset:
                    offset = response.event.offset
                    yield response.event
                elif response.HasField("ended"):
                    return
        except DeskmeshError as error:
            failures += 1
            if failures == 1:
                first_failure = time.monotonic()
            waited_out = error.code in RESUMABLE and time.monotonic() - first_failure < patience_seconds
            renewable = error.reason in RENEWABLE and failures <= ATTEMPTS
            if not (waited_out or renewable):
                raise
            await asyncio.sleep(backoff_seconds(failures, error))
