"""Between the protos of second factors and the domain."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration

from deskmesh.auth.v1 import auth_service_pb2, mfa_service_pb2
from services.auth.ports import AccessToken
from services.auth.usecases.mfa import Challenged, Code, StepUp
from services.common.context import Caller


def to_code(code: mfa_service_pb2.Code) -> Code:
    return Code(totp=code.totp, recovery=code.recovery)


def to_step_up(request: mfa_service_pb2.StepUpRequest, caller: Caller, source: str) -> StepUp:
    return StepUp(
        user_id=caller.user_id,
        organization_id=caller.organization_id,
        session_id=caller.session_id,
        password=request.password,
        code=to_code(request.code) if request.HasField("code") else None,
        source=source,
    )


def challenge(challenged: Challenged) -> auth_service_pb2.Challenge:
    return auth_service_pb2.Challenge(token=challenged.token, lifetime=_seconds(challenged.lifetime_seconds))


def access_token(token: AccessToken) -> auth_service_pb2.AccessToken:
    return auth_service_pb2.AccessToken(value=token.value, lifetime=_seconds(token.lifetime_seconds))


def _seconds(seconds: int) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration
