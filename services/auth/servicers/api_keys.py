"""Service accounts and API keys."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from deskmesh.auth.v1 import api_key_service_pb2_grpc
from services.auth.mappings import api_keys as mapping
from services.auth.usecases.api_keys import Keys, ServiceAccounts
from services.common.context import caller, idempotency

Context = grpc.aio.ServicerContext[Any, Any]

READ = "keys.read"
WRITE = "keys.write"


class ApiKeyServicer(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """How programs get in."""

    def __init__(self, accounts: ServiceAccounts, api_keys: Keys) -> None:
        self._accounts = accounts
        self._keys = api_keys

    async def CreateServiceAccount(
        self, request: keys.CreateServiceAccountRequest, context: Context
    ) -> keys.CreateServiceAccountResponse:
        person = caller()
        made = await self._accounts.create(person.organization_id, request.name, person.user_id, idempotency())
        return keys.CreateServiceAccountResponse(service_account=mapping.account(made))

    async def ListServiceAccounts(
        self, request: keys.ListServiceAccountsRequest, context: Context
    ) -> keys.ListServiceAccountsResponse:
        found = await self._accounts.list(caller().organization_id)
        return keys.ListServiceAccountsResponse(service_accounts=[mapping.account(one) for one in found])

    async def DeleteServiceAccount(
        self, request: keys.DeleteServiceAccountRequest, context: Context
    ) -> keys.DeleteServiceAccountResponse:
        await self._accounts.delete(caller().organization_id, request.service_account_id)
        return keys.DeleteServiceAccountResponse()

    async def CreateApiKey(self, request: keys.CreateApiKeyRequest, context: Context) -> keys.CreateApiKeyResponse:
        made, secret = await self._keys.create(mapping.holder(caller(), WRITE), mapping.to_new_key(request))
        return keys.CreateApiKeyResponse(api_key=mapping.key(made), secret=secret)

    async def ListApiKeys(self, request: keys.ListApiKeysRequest, context: Context) -> keys.ListApiKeysResponse:
        page = await self._keys.list(
            mapping.holder(caller(), READ),
            request.service_account_id,
            request.page_size,
            request.page_token,
            include_ended=request.include_ended,
        )
        return mapping.list_response(page)

    async def RevokeApiKey(self, request: keys.RevokeApiKeyRequest, context: Context) -> keys.RevokeApiKeyResponse:
        revoked = await self._keys.revoke(mapping.holder(caller(), WRITE), request.api_key_id)
        return keys.RevokeApiKeyResponse(api_key=mapping.key(revoked))

    async def RotateApiKey(self, request: keys.RotateApiKeyRequest, context: Context) -> keys.RotateApiKeyResponse:
        overlap = request.overlap.ToTimedelta()
        made, secret = await self._keys.rotate(mapping.holder(caller(), WRITE), request.api_key_id, overlap)
        return keys.RotateApiKeyResponse(api_key=mapping.key(made), secret=secret)

    async def ExchangeApiKey(
        self, request: keys.ExchangeApiKeyRequest, context: Context
    ) -> keys.ExchangeApiKeyResponse:
        exchanged = await self._keys.exchange(request.secret_hash, request.source_address)
        return mapping.exchange_response(exchanged)
