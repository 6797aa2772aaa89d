"""Asks auth what a key is good for, over mutual TLS."""

import grpc
import grpc.aio

from deskmesh.auth.v1 import api_key_service_pb2, api_key_service_pb2_grpc
from services.common.errors import Unavailable, from_rpc_error
from services.gateway.errors import ApiKeyInvalid
from services.gateway.ports import Access

RETRY_AFTER_SECONDS = 1.0


class AuthExchange:
    """See `ports.Exchange`."""

    def __init__(self, channel: grpc.aio.Channel, *, timeout_seconds: float) -> None:
        self._stub = api_key_service_pb2_grpc.ApiKeyServiceStub(channel)
        self._timeout_seconds = timeout_seconds

    async def exchange(self, key_hash: bytes, source: str) -> Access:
        request = api_key_service_pb2.ExchangeApiKeyRequest(secret_hash=key_hash, source_address=source)
        try:
            answer = await self._stub.ExchangeApiKey(request, timeout=self._timeout_seconds)
        except grpc.aio.AioRpcError as error:
            remote = from_rpc_error(error)
            if remote.reason == ApiKeyInvalid.reason:
                raise ApiKeyInvalid from None
            # Whatever else keeps auth from answering: without an answer nobody comes in.
            raise Unavailable(retry_after_seconds=RETRY_AFTER_SECONDS) from error
        return Access(
            token=answer.access_token,
            lifetime_seconds=answer.access_token_lifetime.ToTimedelta().total_seconds(),
            organization_id=answer.organization_id,
            subject_id=answer.subject_id,
            key_id=answer.api_key_id,
        )
