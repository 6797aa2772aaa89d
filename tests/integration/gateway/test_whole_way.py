"""An API key's whole way: made and revoked in the auth service, let in by the gateway and Envoy, for a real client."""

import time

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from deskmesh.auth.v1 import api_key_service_pb2 as keys
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import organization_service_pb2 as organizations
from deskmesh_client import Client, DeskmeshError
from services.common.ids import new_id
from tests.integration.gateway.conftest import Door

SCOPES = ("members.read",)


async def _made(door: Door, **values: object) -> keys.CreateApiKeyResponse:
    response: keys.CreateApiKeyResponse = await door.owner.api_keys.CreateApiKey(
        keys.CreateApiKeyRequest(name="Shop backend", scopes=SCOPES, **values)  # type: ignore[arg-type]
    )
    return response


async def _members(client: Client) -> int:
    found = await client.members.ListMembers(organizations.ListMembersRequest())
    return len(found.members)


async def test_a_program_does_what_its_key_allows_and_no_more(door: Door) -> None:
    account = await door.owner.api_keys.CreateServiceAccount(
        keys.CreateServiceAccountRequest(request_id=new_id("req"), name="Backend")
    )
    made = await _made(door, service_account_id=account.service_account.id)
    async with door.program(made.secret) as program:
        assert await _members(program) == 1
        principal = (await program.auth.WhoAmI(auth.WhoAmIRequest())).principal
        assert (principal.user.display_name, list(principal.permissions)) == ("Backend", list(SCOPES))
        with pytest.raises(DeskmeshError) as caught:
            await program.api_keys.ListApiKeys(keys.ListApiKeysRequest())
        assert caught.value.reason == "PERMISSION_MISSING"


async def test_a_revoked_key_is_refused_within_five_seconds(door: Door) -> None:
    made = await _made(door)
    async with door.program(made.secret) as program:
        assert await _members(program) == 1
        began = time.monotonic()
        await door.owner.api_keys.RevokeApiKey(keys.RevokeApiKeyRequest(api_key_id=made.api_key.id))
        reason = ""
        while not reason:
            try:
                await _members(program)
            except DeskmeshError as error:
                reason = error.reason
        assert time.monotonic() - began < 5
        # By what auth announces before the gateway asks again; either way nobody is let in.
        assert reason in ("TOKEN_REVOKED", "API_KEY_INVALID")


async def test_a_key_that_is_none_is_refused_typed(door: Door) -> None:
    made = await _made(door, lifetime=Duration(seconds=60))
    for wrong in (made.secret[:-1] + ("x" if made.secret[-1] != "x" else "y"), "dm_live_"):
        async with door.program(wrong) as program:
            with pytest.raises(DeskmeshError) as caught:
                await _members(program)
            assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, "API_KEY_INVALID")
