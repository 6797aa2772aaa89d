"""Service accounts and API keys between proto and domain."""

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from deskmesh.auth.v1 import api_key_pb2, api_key_service_pb2
from services.auth.api_keys import ApiKey, ServiceAccount
from services.auth.mappings.roles import granter
from services.auth.usecases.api_keys import Exchanged, Holder, KeyPage, NewKey
from services.common.context import Caller


def holder(caller: Caller, permission: str) -> Holder:
    return Holder(caller.organization_id, granter(caller), caller.owns_only(permission))


def to_new_key(request: api_key_service_pb2.CreateApiKeyRequest) -> NewKey:
    return NewKey(
        name=request.name,
        service_account_id=request.service_account_id,
        scopes=tuple(request.scopes),
        networks=tuple(request.allowed_networks),
        lifetime=request.lifetime.ToTimedelta() if request.HasField("lifetime") else None,
    )


def account(made: ServiceAccount) -> api_key_pb2.ServiceAccount:
    return api_key_pb2.ServiceAccount(
        id=made.id, name=made.name, created_by=made.created_by, created_at=_moment(made.created_at)
    )


def key(made: ApiKey) -> api_key_pb2.ApiKey:
    shown = api_key_pb2.ApiKey(
        id=made.id,
        name=made.name,
        prefix=made.prefix,
        scopes=sorted(made.scopes),
        allowed_networks=made.networks,
        created_by=made.created_by,
        created_at=_moment(made.created_at),
        expires_at=_moment(made.expires_at),
        last_used_at=_moment(made.last_used_at),
        revoked_at=_moment(made.revoked_at),
    )
    if made.service_account_id:
        shown.service_account_id = made.service_account_id
    else:
        shown.user_id = made.user_id
    return shown


def list_response(page: KeyPage) -> api_key_service_pb2.ListApiKeysResponse:
    return api_key_service_pb2.ListApiKeysResponse(
        api_keys=[key(one) for one in page.keys], next_page_token=page.next_page_token
    )


def exchange_response(exchanged: Exchanged) -> api_key_service_pb2.ExchangeApiKeyResponse:
    lifetime = Duration()
    lifetime.FromTimedelta(timedelta(seconds=exchanged.token.lifetime_seconds))
    return api_key_service_pb2.ExchangeApiKeyResponse(
        access_token=exchanged.token.value,
        access_token_lifetime=lifetime,
        organization_id=exchanged.key.organization_id,
        subject_id=exchanged.key.subject_id,
        api_key_id=exchanged.key.id,
    )


def _moment(at: datetime | None) -> Timestamp | None:
    if at is None:
        return None
    moment = Timestamp()
    moment.FromDatetime(at)
    return moment
