"""Passkeys registered and used by a software authenticator, over real mTLS and Postgres."""

import asyncio
from collections.abc import Callable

import grpc.aio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from deskmesh.auth.v1 import passkey_service_pb2 as passkeys
from services.common.errors import from_rpc_error
from tests.integration.auth.people import AuthClient, Person
from tests.integration.auth.test_mfa import verified
from tests.support.authenticator import PRESENT, Authenticator
from tests.support.server import refused


async def register(client: AuthClient, person: Person, device: Authenticator) -> passkeys.Passkey:
    begun = await client.passkeys.BeginPasskeyRegistration(
        passkeys.BeginPasskeyRegistrationRequest(), metadata=person.headers
    )
    request = passkeys.FinishPasskeyRegistrationRequest(
        challenge_token=begun.challenge_token, credential_json=device.create(begun.options_json), name="My phone"
    )
    made = await client.passkeys.FinishPasskeyRegistration(request, metadata=person.headers)
    return made.passkey


async def answered(client: AuthClient, device: Authenticator) -> passkeys.FinishPasskeySignInRequest:
    begun = await client.passkeys.BeginPasskeySignIn(passkeys.BeginPasskeySignInRequest())
    return passkeys.FinishPasskeySignInRequest(
        challenge_token=begun.challenge_token, credential_json=device.get(begun.options_json)
    )


async def test_a_passkey_signs_in_without_a_password(client: AuthClient) -> None:
    owner, device = await verified(client), Authenticator()
    made = await register(client, owner, device)
    done = await client.passkeys.FinishPasskeySignIn(await answered(client, device))
    assert done.principal.user.id == owner.user_id
    claims = jwt.decode(done.tokens.access_token, options={"verify_signature": False})
    assert claims["amr"] == ["hwk", "user", "mfa"]
    (listed,) = (await client.passkeys.ListPasskeys(passkeys.ListPasskeysRequest(), metadata=owner.headers)).passkeys
    assert (listed.id, listed.name, listed.HasField("used_at")) == (made.id, "My phone", True)
    await client.passkeys.RemovePasskey(passkeys.RemovePasskeyRequest(id=made.id), metadata=owner.headers)
    async with refused() as refusal:
        await client.passkeys.FinishPasskeySignIn(await answered(client, device))
    assert refusal.error.reason == "PASSKEY_INVALID"


def _unverified(device: Authenticator) -> None:
    device.flags = PRESENT


def _cloned(device: Authenticator) -> None:
    device.sign_count = 0


def _phished(device: Authenticator) -> None:
    device.origin = "https://deskmesh.example"


def _of_another_host(device: Authenticator) -> None:
    device.host = "deskmesh.example"


def _forged(device: Authenticator) -> None:
    device.key = ec.generate_private_key(ec.SECP256R1())


def _of_another_person(device: Authenticator) -> None:
    device.user_handle = b"usr_other"


def _unknown(device: Authenticator) -> None:
    device.credential_id = b"unknown"


@pytest.mark.parametrize(
    "spoil", [_unverified, _cloned, _phished, _of_another_host, _forged, _of_another_person, _unknown]
)
async def test_a_wrong_answer_is_refused(client: AuthClient, spoil: Callable[[Authenticator], None]) -> None:
    owner, device = await verified(client), Authenticator()
    await register(client, owner, device)
    await client.passkeys.FinishPasskeySignIn(await answered(client, device))
    spoil(device)
    async with refused() as refusal:
        await client.passkeys.FinishPasskeySignIn(await answered(client, device))
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "PASSKEY_INVALID")


@pytest.mark.parametrize("text", ["{}", "[]", "null", "1" * 300, '{"id":"a"}', "[" * 9000, '{"rawId":{}}', "\\u0000"])
async def test_what_is_no_answer_is_refused(client: AuthClient, text: str) -> None:
    begun = await client.passkeys.BeginPasskeySignIn(passkeys.BeginPasskeySignInRequest())
    request = passkeys.FinishPasskeySignInRequest(challenge_token=begun.challenge_token, credential_json=text)
    async with refused() as refusal:
        await client.passkeys.FinishPasskeySignIn(request)
    assert refusal.error.reason == "PASSKEY_INVALID"


async def test_an_answer_works_once_under_fifty_tries_at_once(client: AuthClient) -> None:
    owner, device = await verified(client), Authenticator()
    await register(client, owner, device)
    request = await answered(client, device)
    results = await asyncio.gather(
        *(client.passkeys.FinishPasskeySignIn(request) for _ in range(50)), return_exceptions=True
    )
    assert sum(isinstance(result, passkeys.FinishPasskeySignInResponse) for result in results) == 1
    lost = {from_rpc_error(result).reason for result in results if isinstance(result, grpc.aio.AioRpcError)}
    assert lost == {"MFA_CHALLENGE_INVALID"}


async def test_a_passkey_belongs_to_who_registered_it(client: AuthClient) -> None:
    owner, other, device = await verified(client), await verified(client), Authenticator()
    made = await register(client, owner, device)
    async with refused() as refusal:
        await register(client, other, device)
    assert refusal.error.reason == "PASSKEY_INVALID"
    async with refused() as refusal:
        await client.passkeys.RemovePasskey(passkeys.RemovePasskeyRequest(id=made.id), metadata=other.headers)
    assert refusal.error.reason == "PASSKEY_NOT_FOUND"
    begun = await client.passkeys.BeginPasskeyRegistration(
        passkeys.BeginPasskeyRegistrationRequest(), metadata=owner.headers
    )
    stolen = passkeys.FinishPasskeyRegistrationRequest(
        challenge_token=begun.challenge_token, credential_json=Authenticator().create(begun.options_json), name="x"
    )
    async with refused() as refusal:
        await client.passkeys.FinishPasskeyRegistration(stolen, metadata=other.headers)
    assert refusal.error.reason == "MFA_CHALLENGE_INVALID"


async def test_an_unverified_address_gets_no_passkey(client: AuthClient) -> None:
    owner = await client.founder()
    async with refused() as refusal:
        await register(client, owner, Authenticator())
    assert refusal.error.reason == "EMAIL_NOT_VERIFIED"
