"""Passkeys."""

from datetime import datetime
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import passkey_service_pb2 as passkeys
from deskmesh.auth.v1 import passkey_service_pb2_grpc
from services.auth import mapping
from services.auth.passkeys import Passkey, as_bytes, as_text
from services.auth.servicer import source_of
from services.auth.usecases.passkeys import PasskeyUses
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]


class PasskeyServicer(passkey_service_pb2_grpc.PasskeyServiceServicer):
    """The caller's passkeys, and signing in with one."""

    def __init__(self, uses: PasskeyUses) -> None:
        self._uses = uses

    async def BeginPasskeyRegistration(
        self, request: passkeys.BeginPasskeyRegistrationRequest, context: Context
    ) -> passkeys.BeginPasskeyRegistrationResponse:
        options, token = await self._uses.begin_registration(caller().user_id)
        return passkeys.BeginPasskeyRegistrationResponse(options_json=options, challenge_token=token)

    async def FinishPasskeyRegistration(
        self, request: passkeys.FinishPasskeyRegistrationRequest, context: Context
    ) -> passkeys.FinishPasskeyRegistrationResponse:
        person = caller()
        made = await self._uses.finish_registration(
            person.organization_id, person.user_id, request.challenge_token, request.credential_json, request.name
        )
        return passkeys.FinishPasskeyRegistrationResponse(passkey=_passkey(made))

    async def ListPasskeys(
        self, request: passkeys.ListPasskeysRequest, context: Context
    ) -> passkeys.ListPasskeysResponse:
        found = await self._uses.list(caller().user_id)
        return passkeys.ListPasskeysResponse(passkeys=[_passkey(one) for one in found])

    async def RemovePasskey(
        self, request: passkeys.RemovePasskeyRequest, context: Context
    ) -> passkeys.RemovePasskeyResponse:
        await self._uses.remove(caller().organization_id, caller().user_id, as_bytes(request.id))
        return passkeys.RemovePasskeyResponse()

    async def BeginPasskeySignIn(
        self, request: passkeys.BeginPasskeySignInRequest, context: Context
    ) -> passkeys.BeginPasskeySignInResponse:
        options, token = await self._uses.begin_sign_in(source_of(context))
        return passkeys.BeginPasskeySignInResponse(options_json=options, challenge_token=token)

    async def FinishPasskeySignIn(
        self, request: passkeys.FinishPasskeySignInRequest, context: Context
    ) -> passkeys.FinishPasskeySignInResponse:
        signed_in = await self._uses.finish_sign_in(
            request.challenge_token, request.credential_json, request.organization_slug
        )
        return passkeys.FinishPasskeySignInResponse(
            principal=mapping.principal(signed_in.principal), tokens=mapping.tokens(signed_in.tokens)
        )


def _passkey(passkey: Passkey) -> passkeys.Passkey:
    return passkeys.Passkey(
        id=as_text(passkey.id),
        name=passkey.name,
        created_at=_moment(passkey.created_at),
        used_at=_moment(passkey.used_at) if passkey.used_at else None,
    )


def _moment(at: datetime) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(at)
    return moment
