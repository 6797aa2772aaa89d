"""Tokens of texts, counted by the models themselves."""

import time
from collections.abc import Sequence

import grpc
import grpc.aio

from deskmesh.inference.v1 import inference_service_pb2, inference_service_pb2_grpc
from services.common.errors import from_rpc_error
from services.sessions.errors import TokenizerUnavailable

# The sidecar finds the application of a model by this header.
MODEL_HEADER = "x-deskmesh-model"
# How long the name of the default model may be out of date.
DEFAULT_MODEL_SECONDS = 60.0

_PASSED_ON = (
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)


class InferenceTokenCounter:
    """Asks `InferenceService.CountTokens`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_seconds: float) -> None:
        self._stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
        self._timeout_seconds = timeout_seconds
        self._default_model = ""
        self._default_until = 0.0

    async def default_model(self) -> str:
        """Name of the model that counts when none is asked for."""
        if not self._default_model or time.monotonic() > self._default_until:
            response = await self._ask("", ["."])
            self._default_model = response.model
            self._default_until = time.monotonic() + DEFAULT_MODEL_SECONDS
        return self._default_model

    async def count(self, model: str, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        response = await self._ask(model, texts)
        if len(response.counts) != len(texts):
            raise TokenizerUnavailable
        return list(response.counts)

    async def _ask(self, model: str, texts: Sequence[str]) -> inference_service_pb2.CountTokensResponse:
        request = inference_service_pb2.CountTokensRequest(model=model, texts=texts)
        metadata = ((MODEL_HEADER, model),) if model else ()
        try:
            return await self._stub.CountTokens(request, timeout=self._timeout_seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() in _PASSED_ON:
                raise from_rpc_error(error) from error
            raise TokenizerUnavailable from error
