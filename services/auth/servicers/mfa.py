"""Second factors."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import mfa_service_pb2 as mfa
from deskmesh.auth.v1 import mfa_service_pb2_grpc
from services.auth import mapping as sessions
from services.auth.mappings import mfa as mapping
from services.auth.servicer import source_of
from services.auth.usecases.mfa import Mfa
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]


class MfaServicer(mfa_service_pb2_grpc.MfaServiceServicer):
    """The caller's second factors, and the sign-ins that wait for one."""

    def __init__(self, factors: Mfa) -> None:
        self._factors = factors

    async def CompleteSignIn(self, request: mfa.CompleteSignInRequest, context: Context) -> mfa.CompleteSignInResponse:
        code = mapping.to_code(request.code)
        signed_in = await self._factors.complete_sign_in(request.challenge_token, code, source_of(context))
        return mfa.CompleteSignInResponse(
            principal=sessions.principal(signed_in.principal), tokens=sessions.tokens(signed_in.tokens)
        )

    async def BeginTotp(self, request: mfa.BeginTotpRequest, context: Context) -> mfa.BeginTotpResponse:
        secret, uri = await self._factors.begin_totp(caller().user_id)
        return mfa.BeginTotpResponse(secret=secret, uri=uri)

    async def ConfirmTotp(self, request: mfa.ConfirmTotpRequest, context: Context) -> mfa.ConfirmTotpResponse:
        codes = await self._factors.confirm_totp(caller().organization_id, caller().user_id, request.code)
        return mfa.ConfirmTotpResponse(recovery_codes=codes)

    async def DisableTotp(self, request: mfa.DisableTotpRequest, context: Context) -> mfa.DisableTotpResponse:
        await self._factors.disable_totp(caller().organization_id, caller().user_id)
        return mfa.DisableTotpResponse()

    async def ReplaceRecoveryCodes(
        self, request: mfa.ReplaceRecoveryCodesRequest, context: Context
    ) -> mfa.ReplaceRecoveryCodesResponse:
        codes = await self._factors.replace_recovery_codes(caller().organization_id, caller().user_id)
        return mfa.ReplaceRecoveryCodesResponse(recovery_codes=codes)

    async def StepUp(self, request: mfa.StepUpRequest, context: Context) -> mfa.StepUpResponse:
        token = await self._factors.step_up(mapping.to_step_up(request, caller(), source_of(context)))
        return mfa.StepUpResponse(access_token=mapping.access_token(token))
