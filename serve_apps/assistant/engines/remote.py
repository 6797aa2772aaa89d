"""A model behind an OpenAI-compatible HTTP endpoint, behind the engine interface."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx

from serve_apps.assistant.config import EndpointSource
from serve_apps.assistant.engine_config import RemoteEngineConfig
from serve_apps.assistant.engines.base import (
    Constraint,
    Delta,
    EngineDead,
    EngineLoad,
    Finished,
    FinishReason,
    Pair,
    Prompt,
    Rendered,
    Scores,
    TokenLogProbability,
    Usage,
)
from serve_apps.assistant.engines.patience import CircuitBreaker, RetryBudget
from serve_apps.assistant.errors import ModelOverloaded, ModelUnavailable
from services.common.errors import InvalidInput

logger = logging.getLogger(__name__)

TRIES = 3
FIRST_PAUSE_SECONDS = 0.2
RETRY_SECONDS = 2.0
# What an endpoint says is logged, but not all of a page of HTML.
LOGGED_CHARACTERS = 500
TOO_MANY = 429


class _Failed(Exception):
    """The endpoint cannot answer now, or what it sends is no answer; another try may help."""

    def __init__(self, why: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_seconds = retry_after_seconds


class RemoteEngine:
    """Streams chat completions. A request is tried again only as long as none of its answer was seen."""

    def __init__(
        self,
        source: EndpointSource,
        config: RemoteEngineConfig,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        draw: random.Random | None = None,
    ) -> None:
        self._source = source
        self._config = config
        self._transport = transport
        self._draw = draw or random.Random()  # noqa: S311 - spreads retries, guards nothing
        self._breaker = CircuitBreaker(config.failures_to_open, config.open_seconds)
        self._budget = RetryBudget(config.retry_share)
        self._client: httpx.AsyncClient | None = None
        self._in_flight = 0

    async def start(self) -> None:
        """Make the client; no request is sent before somebody asks for an answer. Raises OSError without the key."""
        self._headers()
        timeout = httpx.Timeout(self._config.silence_seconds, connect=self._config.connect_seconds)
        limits = httpx.Limits(max_connections=self._config.max_running)
        # Proxies of the environment are not for it: the target's file says where requests go.
        self._client = httpx.AsyncClient(
            timeout=timeout, limits=limits, transport=self._transport, trust_env=False, follow_redirects=False
        )

    async def generate(self, prompt: Prompt) -> AsyncGenerator[Delta | Finished, None]:
        """See Engine.generate. Raises ModelUnavailable and ModelOverloaded for what the endpoint cannot do."""
        body = self._body(prompt)
        self._budget.request()
        self._in_flight += 1
        try:
            for attempt in range(1, TRIES + 1):
                if not self._breaker.admit():
                    raise ModelUnavailable(retry_after_seconds=max(self._breaker.seconds_left(), RETRY_SECONDS))
                seen, outcome = False, self._breaker.abandoned
                try:
                    async with aclosing(self._attempt(body)) as frames:
                        async for frame in frames:
                            # It answers: what follows may take minutes, and others need not wait for that.
                            seen = True
                            self._breaker.succeeded()
                            yield frame
                except _Failed as failure:
                    outcome = self._breaker.failed
                    logger.warning("the endpoint failed", extra={"model": self._source.model, "why": str(failure)})
                    if seen or attempt == TRIES or not self._budget.spend():
                        raise self._as_error(failure) from failure
                    pause = self._pause(attempt, failure.retry_after_seconds)
                except InvalidInput:
                    outcome = self._breaker.succeeded
                    raise
                else:
                    outcome = self._breaker.succeeded
                    return
                finally:
                    outcome()
                await asyncio.sleep(pause)
        finally:
            self._in_flight -= 1

    async def score(self, pairs: Sequence[Pair], *, priority: int) -> Scores:  # noqa: ARG002 - part of the interface
        """No endpoint of this kind does that. Raises InvalidInput."""
        raise InvalidInput(violations=[("model", "is behind an endpoint that cannot score")])

    def render(self, prompt: Prompt) -> Rendered:  # noqa: ARG002 - part of the interface
        """The template is the endpoint's own. Raises InvalidInput."""
        raise InvalidInput(violations=[("model", "is behind an endpoint that does not show its template")])

    def count_tokens(self, texts: Sequence[str]) -> list[int]:  # noqa: ARG002 - part of the interface
        """The tokenizer is the endpoint's own. Raises InvalidInput."""
        raise InvalidInput(violations=[("model", "is behind an endpoint that does not count tokens")])

    async def set_adapters(self, adapters: Mapping[str, Path]) -> Mapping[str, str]:
        """It takes none."""
        return dict.fromkeys(adapters, "an endpoint takes no adapters")

    def load(self) -> EngineLoad:
        """See Engine.load."""
        return EngineLoad(running=self._in_flight, degraded=self._breaker.is_open)

    async def check_health(self) -> None:
        """A replica in place of this one would fare no better; that the endpoint fails is in the load."""

    async def stop(self) -> None:
        """See Engine.stop."""
        if self._client is not None:
            await self._client.aclose()

    async def _attempt(self, body: Mapping[str, Any]) -> AsyncGenerator[Delta | Finished, None]:
        if self._client is None:
            raise EngineDead
        url = f"{str(self._source.url).rstrip('/')}/chat/completions"
        usage, reason = Usage(), None
        try:
            async with self._client.stream("POST", url, json=body, headers=self._headers()) as response:
                await _check(response)
                async for event in _events(response):
                    usage = _usage(event) or usage
                    for choice in event.get("choices") or ():
                        text = (choice.get("delta") or {}).get("content") or ""
                        if text:
                            tokens = _log_probabilities(choice)
                            yield Delta(text, len(tokens) or 1, tokens)
                        reason = choice.get("finish_reason") or reason
        except (httpx.HTTPError, OSError) as error:
            raise _Failed(type(error).__name__) from error
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise _Failed(f"an event that is none: {error!r}"[:LOGGED_CHARACTERS]) from error
        if reason is None:
            raise _Failed("the answer broke off")
        yield Finished(FinishReason.LENGTH if reason == "length" else FinishReason.STOP, usage)

    def _headers(self) -> dict[str, str]:
        """Read anew each time, so that a key can be changed while it runs."""
        if self._source.key_file is None:
            return {}
        return {"authorization": f"Bearer {self._source.key_file.read_text().strip()}"}

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        only_here = {"answer_prefix": prompt.answer_prefix, "adapter": prompt.adapter, "ignore_end": prompt.ignore_end}
        for name, value in only_here.items():
            if value:
                raise InvalidInput(violations=[(name, "is not possible with a model behind an endpoint")])
        body = {
            "model": self._source.model,
            "messages": [{"role": one.role.value, "content": one.content} for one in prompt.messages],
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "top_p": prompt.top_p,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if prompt.seed is not None:
            # The interface's seeds have 64 bits, those of JSON's usual readers fewer.
            body["seed"] = prompt.seed & 0x7FFF_FFFF
        if prompt.stop:
            body["stop"] = list(prompt.stop)
        if prompt.log_probabilities is not None:
            body |= {"logprobs": True, "top_logprobs": prompt.log_probabilities}
        if prompt.constraint is not None:
            body["response_format"] = _response_format(prompt.constraint)
        return body

    def _pause(self, attempt: int, asked_for: float | None) -> float:
        if asked_for is not None:
            return min(asked_for, RETRY_SECONDS)
        return FIRST_PAUSE_SECONDS * float(2 ** (attempt - 1)) * self._draw.uniform(0.5, 1.5)

    def _as_error(self, failure: _Failed) -> ModelOverloaded | ModelUnavailable:
        if failure.retry_after_seconds is not None:
            return ModelOverloaded(retry_after_seconds=failure.retry_after_seconds)
        return ModelUnavailable(retry_after_seconds=RETRY_SECONDS)


async def _check(response: httpx.Response) -> None:
    """Raises _Failed where a later try may fare better, and for a key that is not taken; InvalidInput for the rest."""
    if response.is_success:
        return
    said = (await response.aread()).decode(errors="replace")[:LOGGED_CHARACTERS]
    status = response.status_code
    if status == TOO_MANY:
        raise _Failed(f"HTTP {status}: {said}", retry_after_seconds=_retry_after(response))
    if status in (httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY, httpx.codes.REQUEST_ENTITY_TOO_LARGE):
        logger.info("the endpoint refused a request", extra={"status": status, "said": said})
        raise InvalidInput("The model's endpoint refused the request; it may be too long for the model.")
    raise _Failed(f"HTTP {status}: {said}")


def _retry_after(response: httpx.Response) -> float:
    try:
        return max(float(response.headers.get("retry-after", "")), 0.0)
    except ValueError:
        return RETRY_SECONDS


async def _events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream of server-sent events, up to its last line."""
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = json.loads(data)
        if "error" in event:
            raise _Failed(f"{event['error']}"[:LOGGED_CHARACTERS])
        yield event


def _usage(event: Mapping[str, Any]) -> Usage | None:
    used = event.get("usage")
    if not used:
        return None
    cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return Usage(used["prompt_tokens"], cached, used.get("completion_tokens") or 0)


def _log_probabilities(choice: Mapping[str, Any]) -> tuple[TokenLogProbability, ...]:
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    return tuple(
        TokenLogProbability(
            one["token"],
            one["logprob"],
            tuple((other["token"], other["logprob"]) for other in one.get("top_logprobs") or ()),
        )
        for one in tokens
    )


def _response_format(constraint: Constraint) -> dict[str, Any]:
    if constraint.json_schema is None:
        raise InvalidInput(
            violations=[("constraint", "only a JSON schema is possible with a model behind an endpoint")]
        )
    try:
        schema = json.loads(constraint.json_schema)
    except ValueError:
        raise InvalidInput(violations=[("constraint.json_schema", "is not JSON")]) from None
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
