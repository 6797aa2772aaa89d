"""Models and embedder of the inference application."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

import grpc.aio
import numpy as np

from deskmesh.inference.v1 import (
    chat_pb2,
    embedding_service_pb2,
    embedding_service_pb2_grpc,
    inference_service_pb2,
    router_service_pb2,
)
from services.common.errors import DomainError, Exhausted, Unavailable
from services.common.inference import RoutedModels
from services.common.spending import Usage
from services.orchestrator.adapters.prefixes import prefix_blocks
from services.orchestrator.adapters.racing import whichever_begins_first
from services.orchestrator.adapters.remote import translated
from services.orchestrator.answering.ranking import Vector
from services.orchestrator.errors import DependencyUnavailable
from services.orchestrator.ports import Ability, Likelihoods, Need, Piece, Prompt, Route

EMBED_SECONDS = 15.0
SCORE_SECONDS = 30.0
WRITE_SECONDS = 50.0
TEXTS_A_CALL = 256
# What passages are weighed by was learned with this one.
SEARCH_EMBEDDER = "bge-small-en-v1.5"
PAIRS_A_CALL = 64
LEAST_SECONDS = 0.001
# Behind everything that somebody waits for, overdue or not.
SHADOW_PRIORITY = 1_000
_ABILITIES = {
    Ability.RANK: router_service_pb2.CAPABILITY_SCORE,
    Ability.WORD: router_service_pb2.CAPABILITY_FREE_WORDING,
}


class EmbedderClient:
    """The embedder; it is nobody's in particular, so calls need no person."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = embedding_service_pb2_grpc.EmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        return await self._embed(texts)

    async def embed_for_search(self, texts: Sequence[str], questions: bool) -> list[Vector]:
        return await self._embed(texts, SEARCH_EMBEDDER, questions)

    async def _embed(self, texts: Sequence[str], model: str = "", questions: bool = False) -> list[Vector]:
        vectors: list[Vector] = []
        for start in range(0, len(texts), TEXTS_A_CALL):
            request = embedding_service_pb2.EmbedRequest(
                texts=texts[start : start + TEXTS_A_CALL], model=model, questions=questions
            )
            with translated():
                answered = await self._stub.Embed(request, timeout=EMBED_SECONDS)
            vectors.extend(np.array(embedding.values, dtype=np.float32) for embedding in answered.embeddings)
        return vectors


class ModelsClient:
    """The router, and the models behind it. A conversation's route is asked for again only when its lease has ended."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._models = RoutedModels(channel)

    async def route(self, need: Need) -> Route:
        # Where a prompt's beginning is cached may be elsewhere than where the conversation was.
        leased_to = "" if need.prompt else need.conversation_id
        answered = self._models.leased(leased_to)
        if answered is None:
            with translated():
                answered = self._models.keep(leased_to, await self._ask(need))
        return Route(
            model=answered.model.name,
            replica=answered.replica,
            reason=answered.reason,
            waited_seconds=answered.routing.waited.ToMilliseconds() / 1000,
            place=answered.routing.place,
            escalate_below=(
                answered.escalation.least_mean_log_probability if answered.HasField("escalation") else None
            ),
            hedge_after_seconds=answered.hedge_after.ToMilliseconds() / 1000,
            priority=need.priority,
            version=answered.version,
            shadow_percent=answered.shadow_percent,
        )

    async def _ask(self, need: Need) -> router_service_pb2.RouteResponse:
        request = _route_request(need)
        try:
            return await (self._models.queue(request) if need.may_wait else self._models.route(request))
        except TimeoutError:
            raise DependencyUnavailable from None

    async def score(self, route: Route, pairs: Sequence[tuple[str, str]]) -> Likelihoods:
        scores: list[float] = []
        usage = Usage()
        for start in range(0, len(pairs), PAIRS_A_CALL):
            request = inference_service_pb2.ScoreRequest(
                model=route.model,
                items=[
                    inference_service_pb2.ScoreItem(context=context, target=target)
                    for context, target in pairs[start : start + PAIRS_A_CALL]
                ],
                priority=route.priority,
            )
            with translated():
                answered = await self._models.score(request, route.replica, timeout_seconds=SCORE_SECONDS)
            scores.extend(score.mean_log_probability for score in answered.scores)
            usage += _usage(answered.usage)
        return Likelihoods(tuple(scores), usage)

    async def write(self, route: Route, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        begun = False
        try:
            async with aclosing(self._hedged(route, prompt)) as pieces:
                async for piece in pieces:
                    begun = True
                    yield piece
        except (Exhausted, Unavailable):
            other = None if begun or route.alone else await self._other(route)
            if other is None:
                raise
            async with aclosing(self._write(other, prompt)) as pieces:
                async for piece in pieces:
                    yield piece

    async def shadow(self, route: Route, seconds: float) -> AsyncGenerator[Route, None]:
        with translated():
            async with aclosing(self._models.shadow(route.model, timeout_seconds=seconds)) as places:
                try:
                    async for place in places:
                        yield replace(
                            route,
                            replica=place.replica,
                            version=place.version,
                            reason="in the shadow",
                            priority=SHADOW_PRIORITY,
                            hedge_after_seconds=0.0,
                            alone=True,
                        )
                except TimeoutError:
                    raise DependencyUnavailable from None

    def _hedged(self, route: Route, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        first = self._write(route, prompt)
        if not route.hedge_after_seconds:
            return first

        async def second() -> AsyncGenerator[Piece, None] | None:
            other = await self._other(route, hedge=True)
            return self._write(other, prompt) if other else None

        return whichever_begins_first(first, route.hedge_after_seconds, second)

    async def _other(self, route: Route, *, hedge: bool = False) -> Route | None:
        """Another replica of the model, or what stands in for it; None when there is none, or no second try left."""
        request = router_service_pb2.RouteRequest(
            model=route.model,
            avoid_replicas=[route.replica],
            priority=route.priority,
            hedge_of=route.replica if hedge else "",
        )
        try:
            with translated():
                answered = await self._models.route(request)
        except DomainError:
            return None
        return replace(route, model=answered.model.name, replica=answered.replica, version=answered.version)

    async def _write(self, route: Route, prompt: Prompt) -> AsyncGenerator[Piece, None]:
        request = inference_service_pb2.ChatRequest(
            model=route.model,
            messages=[
                chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_SYSTEM, content=prompt.system),
                chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=prompt.user),
            ],
            sampling=chat_pb2.Sampling(max_tokens=prompt.maximum_tokens),
            constraint=chat_pb2.Constraint(json_schema=prompt.schema) if prompt.schema else None,
            log_probabilities=None if route.escalate_below is None else 0,
            priority=route.priority,
        )
        with translated():
            async with aclosing(self._models.chat(request, route.replica, timeout_seconds=WRITE_SECONDS)) as responses:
                async for response in responses:
                    match response.WhichOneof("frame"):
                        case "delta":
                            delta = response.delta
                            sure = tuple(token.log_probability for token in delta.log_probabilities)
                            yield Piece(delta.text, None, delta.tokens, sure, route.replica, route.version)
                        case "finished":
                            yield Piece("", _usage(response.finished.usage))


def _route_request(need: Need) -> router_service_pb2.RouteRequest:
    request = router_service_pb2.RouteRequest(
        capabilities=[router_service_pb2.CAPABILITY_CHAT],
        affinity_key=need.conversation_id,
        tenant=need.organization_id,
        prompt_tokens=need.prompt_tokens,
        completion_tokens=need.completion_tokens,
        max_cost=need.maximum_cost,
        escalate_from=need.escalate_from,
        priority=need.priority,
    )
    if need.ability is not None:
        request.capabilities.append(_ABILITIES[need.ability])
    if need.prompt is not None:
        request.prefix_blocks.extend(prefix_blocks((need.prompt.system, need.prompt.user)))
    if need.within_seconds is not None:
        request.within.FromMilliseconds(round(max(need.within_seconds, LEAST_SECONDS) * 1000))
    return request


def _usage(usage: chat_pb2.Usage) -> Usage:
    return Usage(usage.prompt_tokens, usage.cached_prompt_tokens, usage.completion_tokens)
