"""Between the protos of accounts and signing keys and the domain."""

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import account_service_pb2, signing_key_service_pb2
from services.auth.usecases.accounts import ChangePassword, Security
from services.auth.usecases.signing_keys import PublishedKey
from services.common.context import Caller


def to_change_password(
    request: account_service_pb2.ChangePasswordRequest, caller: Caller, source: str
) -> ChangePassword:
    return ChangePassword(
        user_id=caller.user_id,
        organization_id=caller.organization_id,
        methods=caller.methods,
        current=request.current_password,
        new=request.new_password,
        source=source,
    )


def account_response(security: Security) -> account_service_pb2.GetAccountResponse:
    response = account_service_pb2.GetAccountResponse(
        totp_enabled=security.totp_enabled, recovery_codes_left=security.recovery_codes_left
    )
    if security.account.email_verified_at is not None:
        response.email_verified_at.CopyFrom(_moment(security.account.email_verified_at))
    return response


def signing_keys(keys: Sequence[PublishedKey]) -> list[signing_key_service_pb2.SigningKey]:
    return [
        signing_key_service_pb2.SigningKey(
            id=key.id, created_at=_moment(key.created_at), signs_from=_moment(key.signs_from), signing=key.signing
        )
        for key in keys
    ]


def _moment(at: datetime) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(at)
    return moment
