"""Puts the concerns around a servicer's methods, in their order, once per RPC at registration."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import Message
from opentelemetry import trace

from mesh.policy.table import Idempotency, RateClass, Rule, rules_for_service
from services.common.context import Caller, set_caller, set_idempotency
from services.common.errors import DomainError
from services.common.interceptors.authorization import authorization
from services.common.interceptors.call import Call, RpcContext, arrived_with
from services.common.interceptors.deadline import Deadline, limit
from services.common.interceptors.errors import Draining, Failure, describe
from services.common.interceptors.idempotency import idempotency_key
from services.common.interceptors.identity import Identity
from services.common.interceptors.limits import PeopleLimits
from services.common.interceptors.telemetry import MethodTelemetry
from services.common.interceptors.unknown import UnknownMethods
from services.common.interceptors.validation import Validate, decoding
from services.common.revocations import Revocation, subjects_of
from services.common.telemetry import ServerMetrics
from services.common.tokens import LEEWAY_SECONDS, TokenExpired, TokenRevoked

Unary = Callable[[Any, RpcContext], Awaitable[Message]]
Stream = Callable[[Any, RpcContext], AsyncIterator[Message]]


@dataclass(frozen=True, slots=True)
class Concerns:
    """What the chain is made of; one a process."""

    tracer: trace.Tracer
    metrics: ServerMetrics
    sample_ratio: float
    identity: Identity
    deadline: Deadline
    validate: Validate
    # Nobody counts what people call without them.
    limits: PeopleLimits | None = None
    # Of a request; gRPC's own limit must lie above it, for what gRPC refuses has no details.
    maximum_message_bytes: int = 2 * 1024 * 1024


class OpenStreams:
    """The streaming calls being served, so that they can be ended with a typed error.

    A process that shuts down ends them, and so does the end of the token that let a long-lived one in.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._expiries: dict[asyncio.Task[Any], asyncio.TimerHandle] = {}
        self._tasks: dict[asyncio.Task[Any], Call] = {}
        self._cut: dict[asyncio.Task[Any], DomainError] = {}

    def opened(self, call: Call) -> None:
        """The current task serves a stream from now on."""
        if task := asyncio.current_task():
            self._tasks[task] = call

    def let_in(self, call: Call) -> None:
        """The current task's caller is known: a long-lived stream ends shortly after the token, on which it resumes."""
        task, person = asyncio.current_task(), call.caller
        if task is None or person is None or not person.expires_at or call.rule.rate_class is not RateClass.STREAM:
            return
        # Not sooner than a token is refused, or a client whose clock is slow would come back with the same one.
        seconds = person.expires_at + LEEWAY_SECONDS - self._now()
        self._expiries[task] = asyncio.get_running_loop().call_later(
            max(0.0, seconds), self._cut_off, task, TokenExpired
        )

    def closed(self) -> None:
        """The current task's stream has ended."""
        if task := asyncio.current_task():
            self._tasks.pop(task, None)
            self._cut.pop(task, None)
            if expiry := self._expiries.pop(task, None):
                expiry.cancel()

    def cut_by(self) -> DomainError | None:
        """Why the current task was cut, if its cancellation came from here; it then goes on as if not cancelled."""
        task = asyncio.current_task()
        if task is None or task not in self._cut:
            return None
        task.uncancel()
        return self._cut[task]

    def cut(self, *, only_long_lived: bool) -> int:
        """End the open streams (only those of rate class STREAM, if asked so); returns how many."""
        return self._end(lambda call: not only_long_lived or call.rule.rate_class is RateClass.STREAM, Draining)

    def revoke(self, revocation: Revocation) -> None:
        """End the open streams that were let in by a token that is revoked now."""

        def covered(call: Call) -> bool:
            person = call.caller
            if person is None or not person.token_id or person.issued_at > revocation.not_before:
                return False
            return revocation.subject in subjects_of(person.user_id, person.organization_id, person.session_id)

        self._end(covered, TokenRevoked)

    def _end(self, chosen: Callable[[Call], bool], why: type[DomainError]) -> int:
        tasks = [task for task, call in self._tasks.items() if chosen(call) and task not in self._cut]
        for task in tasks:
            self._cut_off(task, why)
        return len(tasks)

    def _cut_off(self, task: asyncio.Task[Any], why: type[DomainError]) -> None:
        if task not in self._cut:
            self._cut[task] = why()
            task.cancel()


class ConcernedServer:
    """Stands in for the gRPC server in generated `add_…Servicer_to_server` functions, and wraps what they register."""

    def __init__(self, server: grpc.aio.Server, concerns: Concerns, streams: OpenStreams) -> None:
        self._server = server
        self._concerns = concerns
        self._streams = streams
        self.service_names: list[str] = []

    def add_generic_rpc_handlers(self, _handlers: object) -> None:
        """Generated code registers everything twice; the other way tells the methods' names."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Register the handlers of a service with every concern around them. Raises MissingRule."""
        rules = rules_for_service(service)
        wrapped = {name: self._wrap(rules[f"/{service}/{name}"], handler) for name, handler in handlers.items()}
        handlers = {f"/{service}/{name}": handler for name, handler in wrapped.items()}
        self._server.add_generic_rpc_handlers((_Registered(handlers),))
        self.service_names.append(service)

    def refuse_unknown_methods(self) -> None:
        """Answer for every name that nothing is registered under by now; gRPC would do so without details."""
        self._server.add_generic_rpc_handlers((UnknownMethods(),))

    def _wrap(self, rule: Rule, handler: Any) -> Any:
        method = _Method(rule, self._concerns, self._streams)
        decode = decoding(handler.request_deserializer, self._concerns.maximum_message_bytes)
        coders = (decode, handler.response_serializer)
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(method.unary(handler.unary_unary), *coders)
        if handler.stream_unary:
            return grpc.stream_unary_rpc_method_handler(method.unary(handler.stream_unary), *coders)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(method.stream(handler.unary_stream), *coders)
        return grpc.stream_stream_rpc_method_handler(method.stream(handler.stream_stream), *coders)


class _Registered(grpc.GenericRpcHandler):
    """Finds the handler of a method, in the task that will serve the call."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """The handler, or None for a method of others."""
        handler = self._handlers.get(handler_call_details.method)
        if handler is not None:
            arrived_with(handler_call_details.invocation_metadata)
        return handler


class _Method:
    """The chain of one RPC."""

    def __init__(self, rule: Rule, concerns: Concerns, streams: OpenStreams) -> None:
        self._rule = rule
        self._telemetry = MethodTelemetry(rule, concerns.tracer, concerns.metrics, concerns.sample_ratio)
        self._identity = concerns.identity
        self._gate = concerns.limits.gate(rule) if concerns.limits else None
        self._authorize = authorization(rule)
        self._deadline = concerns.deadline
        self._validate = concerns.validate
        self._by_request_id = rule.idempotency is Idempotency.REQUEST_ID
        self._streams = streams

    def unary(self, behaviour: Unary) -> Unary:
        """Around a method with one response; its requests may be one or many."""

        # Looked up once: what every call looks up again adds up to a good part of what the concerns cost.
        rule, start, succeed = self._rule, self._telemetry.start, self._telemetry.succeed
        known, admit, imposed = self._identity.known, self._admit, self._deadline.imposed
        gate = self._gate
        spare = gate.spare if gate else _free

        async def serve(request: Any, context: RpcContext) -> Message:
            call = Call(rule, context)
            start(call)
            try:
                caller = known(call) or await self._identity.resolve(call)
                if not spare(caller):
                    await self._take(call, caller)
                admitted = admit(call, caller, request)
                seconds = imposed(context)
                if seconds is None:
                    response = await behaviour(admitted, context)
                else:
                    async with limit(seconds):
                        response = await behaviour(admitted, context)
            except BaseException as error:  # noqa: BLE001 - everything that ends a call passes here
                await self._fail(error, call, context)
            succeed(call)
            return response

        return serve

    def stream(self, behaviour: Stream) -> Stream:
        """Around a method with many responses. Streams end when their caller or their servicer ends them."""

        async def serve(request: Any, context: RpcContext) -> AsyncIterator[Message]:
            call = Call(self._rule, context)
            self._telemetry.start(call)
            self._streams.opened(call)
            try:
                caller = self._identity.known(call) or await self._identity.resolve(call)
                if self._gate and not self._gate.spare(caller):
                    await self._take(call, caller)
                admitted = self._admit(call, caller, request)
                self._streams.let_in(call)
                async with aclosing(behaviour(admitted, context)) as responses:  # type: ignore[type-var]
                    async for response in responses:
                        yield response
            except BaseException as error:  # noqa: BLE001 - everything that ends a call passes here
                await self._fail(error, call, context)
            finally:
                self._streams.closed()
            self._telemetry.succeed(call)

        return serve

    async def _take(self, call: Call, caller: Caller) -> None:
        """Have a call counted that is not paid for yet. Raises CalledTooOften."""
        call.caller = caller
        if self._gate:
            await self._gate.take(caller)

    def _admit(self, call: Call, caller: Caller, request: Any) -> Any:
        """Authorize, validate and bind the context; returns the request to hand on."""
        call.caller = caller
        set_caller(caller)
        self._authorize(caller)
        if self._rule.client_streaming:
            return self._validated(request)
        self._validate(request)
        if self._by_request_id:
            set_idempotency(idempotency_key(self._rule, request, caller))
        return request

    async def _validated(self, requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
        async for request in requests:
            self._validate(request)
            yield request

    async def _fail(self, error: BaseException, call: Call, context: RpcContext) -> NoReturn:
        if isinstance(error, asyncio.CancelledError) and (why := self._streams.cut_by()):
            error = why
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            # The caller gave up or its deadline passed: gRPC has answered already.
            self._telemetry.fail(call, grpc.StatusCode.CANCELLED, "CANCELLED")
            raise error
        if isinstance(error, grpc.aio.AbortError):
            self._telemetry.fail(call, _aborted_with(context))
            raise error
        if not isinstance(error, Exception):
            raise error
        failure: Failure = describe(error)
        self._telemetry.fail(call, failure.code, failure.reason)
        trailers: tuple[tuple[str, str | bytes], ...] = failure.trailers
        if failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED and failure.retry_after_seconds is not None:
            # What speaks HTTP looks there.
            trailers += (("retry-after", str(max(1, math.ceil(failure.retry_after_seconds)))),)
        await context.abort(failure.code, failure.message, trailers)


def _free(_caller: Caller) -> bool:
    return True


def _aborted_with(context: RpcContext) -> grpc.StatusCode:
    number: int = context.code()  # type: ignore[assignment]  # the servicer may have set any number
    return next((code for code in grpc.StatusCode if code.value[0] == number), grpc.StatusCode.UNKNOWN)
