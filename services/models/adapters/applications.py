"""What serves the models, through the inference sidecar."""

import time
from datetime import datetime

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.inference.v1 import (
    chat_pb2,
    control_service_pb2,
    control_service_pb2_grpc,
    inference_service_pb2,
    inference_service_pb2_grpc,
)
from services.common.errors import from_rpc_error
from services.models.gates import Answer
from services.models.golden import Golden
from services.models.ports import Check, Running, RunningVersion
from services.models.rollouts import Rollout

CHECK_SECONDS = 110.0
# Long: on a machine that is overrun old and new are slow alike, and what is judged is how they differ.
CHAT_SECONDS = 120.0
MAX_TOKENS = 16
# What also comes of a machine that is overrun, or of a route that is not laid yet. A dead engine has another reason.
BUSY = frozenset({"DEADLINE_EXCEEDED", "MODEL_OVERLOADED", "RATE_LIMITED", "DEPENDENCY_UNAVAILABLE", "CANCELLED"})
NOTHING_WRITTEN = "NOTHING_WRITTEN: the answer has not a single token"


class RemoteApplications:
    """Routers and replicas."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_seconds: float) -> None:
        self._control = control_service_pb2_grpc.ControlServiceStub(channel)
        self._inference = inference_service_pb2_grpc.InferenceServiceStub(channel)
        self._timeout_seconds = timeout_seconds

    async def check(self, file: str, text: str) -> Check:
        """Check a target's file against what runs. Raises RemoteError."""
        request = control_service_pb2.CheckTargetRequest(file=file, text=text)
        try:
            found = await self._control.CheckTarget(request, timeout=CHECK_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return Check(list(found.problems), list(found.notes), dict(found.versions))

    async def running(self) -> Running:
        """What runs. Raises RemoteError."""
        try:
            found = await self._control.GetTargets(
                control_service_pb2.GetTargetsRequest(), timeout=self._timeout_seconds
            )
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error
        return Running(
            found.base,
            found.stable.text,
            dict(found.versions),
            [_running(one) for one in found.running],
            found.candidate.text,
            found.in_place,
        )

    async def aim(
        self, base: str, stable: str, candidate: Rollout | None, shadow_percent: int, as_of: datetime
    ) -> None:
        """What should run, for whom, and how many of 100 turns it repeats. Raises RemoteError."""
        moment = Timestamp()
        moment.FromDatetime(as_of)
        request = control_service_pb2.SetTargetsRequest(
            base=base, stable=control_service_pb2.Target(text=stable), as_of=moment
        )
        if candidate is not None:
            request.candidate.text = candidate.text
            request.percent = candidate.percent
            request.shadow_percent = shadow_percent
            request.tenants.extend(candidate.tenants if candidate.percent else ())
        try:
            await self._control.SetTargets(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from error

    async def ask(self, model: str, replica: str, golden: Golden) -> Answer:
        """Ask one replica a golden question; a failure is part of the answer."""
        metadata = (("x-deskmesh-replica", replica), ("x-deskmesh-model", model))
        try:
            tokens, first, pace = await self._chat(model, golden, metadata)
            if not tokens:
                return Answer(error=NOTHING_WRITTEN)
            grounded, likelihood = await self._judges(model, golden, metadata)
        except grpc.aio.AioRpcError as error:
            problem = from_rpc_error(error)
            return Answer(error=f"{problem.reason}: {problem.message}"[:300], busy=problem.reason in BUSY)
        return Answer("", first, pace, grounded, likelihood)

    async def _chat(
        self, model: str, golden: Golden, metadata: tuple[tuple[str, str], ...]
    ) -> tuple[int, float, float]:
        """Tokens written, seconds until the first of them, and tokens a second from then on."""
        request = inference_service_pb2.ChatRequest(
            model=model,
            messages=[_message(golden)],
            sampling=chat_pb2.Sampling(max_tokens=MAX_TOKENS),
        )
        began = first = time.monotonic()
        tokens = 0
        async for frame in self._inference.Chat(request, timeout=CHAT_SECONDS, metadata=metadata):
            if frame.WhichOneof("frame") == "delta":
                first = time.monotonic() if not tokens else first
                tokens += frame.delta.tokens
        written = time.monotonic() - first
        return tokens, first - began, (tokens - 1) / written if tokens > 1 and written else 0.0

    async def _judges(
        self, model: str, golden: Golden, metadata: tuple[tuple[str, str], ...]
    ) -> tuple[bool, float | None]:
        """Whether the question is likeliest after the sentence that answers it, and how likely that sentence is as the
        answer in a chat; False and None for a model that cannot say. Raises AioRpcError when the machine is busy."""
        asked = inference_service_pb2.RenderPromptRequest(model=model, messages=[_message(golden)])
        try:
            prompt = await self._inference.RenderPrompt(asked, timeout=self._timeout_seconds, metadata=metadata)
            items = [
                inference_service_pb2.ScoreItem(context=f"{sentence}\nQuestion:", target=f" {golden.question}")
                for sentence in golden.sentences
            ]
            items.append(inference_service_pb2.ScoreItem(context=prompt.text, target=golden.sentences[golden.right]))
            request = inference_service_pb2.ScoreRequest(model=model, items=items)
            scored = await self._inference.Score(request, timeout=CHAT_SECONDS, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if from_rpc_error(error).reason in BUSY:
                raise
            return False, None
        *sentences, answer = scored.scores
        likelihoods = [one.mean_log_probability for one in sentences]
        by_character = answer.mean_log_probability * answer.target_tokens / len(golden.sentences[golden.right])
        return likelihoods.index(max(likelihoods)) == golden.right, by_character


def _message(golden: Golden) -> chat_pb2.ChatMessage:
    content = f"{' '.join(golden.sentences)}\n\n{golden.question}"
    return chat_pb2.ChatMessage(role=chat_pb2.CHAT_ROLE_USER, content=content)


def _running(one: control_service_pb2.RunningVersion) -> RunningVersion:
    return RunningVersion(
        model=one.model,
        version=one.version,
        failure=(one.message or "it cannot be started") if one.failed else "",
        replicas=list(one.replicas),
        answered=one.answered,
        broken=one.broken,
        price=one.output_cost_per_million,
        prompt_price=one.input_cost_per_million,
        asleep=one.asleep,
    )
