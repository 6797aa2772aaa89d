"""What people do with their own account, and operators with the signing keys."""

from typing import Any

import grpc.aio

from deskmesh.auth.v1 import account_service_pb2 as account
from deskmesh.auth.v1 import account_service_pb2_grpc, signing_key_service_pb2_grpc
from deskmesh.auth.v1 import signing_key_service_pb2 as signing
from services.auth.mapping import tokens
from services.auth.mappings import accounts as mapping
from services.auth.servicer import source_of
from services.auth.usecases.accounts import Accounts
from services.auth.usecases.signing_keys import SigningKeys
from services.common.context import caller

Context = grpc.aio.ServicerContext[Any, Any]


class AccountServicer(account_service_pb2_grpc.AccountServiceServicer):
    """The caller's own account."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    async def GetAccount(self, request: account.GetAccountRequest, context: Context) -> account.GetAccountResponse:
        return mapping.account_response(await self._accounts.get(caller().user_id))

    async def SignOutEverywhere(
        self, request: account.SignOutEverywhereRequest, context: Context
    ) -> account.SignOutEverywhereResponse:
        await self._accounts.sign_out_everywhere(caller().organization_id, caller().user_id)
        return account.SignOutEverywhereResponse()

    async def SendVerification(
        self, request: account.SendVerificationRequest, context: Context
    ) -> account.SendVerificationResponse:
        await self._accounts.send_verification(caller().user_id, source_of(context))
        return account.SendVerificationResponse()

    async def VerifyEmail(self, request: account.VerifyEmailRequest, context: Context) -> account.VerifyEmailResponse:
        await self._accounts.verify_email(request.token)
        return account.VerifyEmailResponse()

    async def RequestPasswordReset(
        self, request: account.RequestPasswordResetRequest, context: Context
    ) -> account.RequestPasswordResetResponse:
        await self._accounts.request_reset(request.email, source_of(context))
        return account.RequestPasswordResetResponse()

    async def ResetPassword(
        self, request: account.ResetPasswordRequest, context: Context
    ) -> account.ResetPasswordResponse:
        await self._accounts.reset_password(request.token, request.new_password)
        return account.ResetPasswordResponse()

    async def ChangePassword(
        self, request: account.ChangePasswordRequest, context: Context
    ) -> account.ChangePasswordResponse:
        command = mapping.to_change_password(request, caller(), source_of(context))
        return account.ChangePasswordResponse(tokens=tokens(await self._accounts.change_password(command)))


class SigningKeyServicer(signing_key_service_pb2_grpc.SigningKeyServiceServicer):
    """The keys that sign access tokens."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def ListSigningKeys(
        self, request: signing.ListSigningKeysRequest, context: Context
    ) -> signing.ListSigningKeysResponse:
        return signing.ListSigningKeysResponse(keys=mapping.signing_keys(self._keys.list()))

    async def RotateSigningKeys(
        self, request: signing.RotateSigningKeysRequest, context: Context
    ) -> signing.RotateSigningKeysResponse:
        return signing.RotateSigningKeysResponse(keys=mapping.signing_keys(await self._keys.rotate()))
