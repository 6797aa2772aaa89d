"""Wires auth together."""

from contextlib import AsyncExitStack
from datetime import timedelta

from aiohttp import web

from deskmesh.auth.v1 import (
    audit_service_pb2_grpc,
    auth_service_pb2_grpc,
    organization_service_pb2_grpc,
    role_service_pb2_grpc,
)
from services.auth.adapters.attempts import ValkeyAttempts
from services.auth.adapters.passwords import ArgonPasswords
from services.auth.adapters.roles import permission_catalogue
from services.auth.adapters.signing import JwtAccessTokens, KeyRing, Sealer
from services.auth.adapters.sql import SqlWorkFactory
from services.auth.servicer import AuthServicer, OrganizationServicer
from services.auth.servicers.audit import AuditServicer
from services.auth.servicers.origin import WithOrigin
from services.auth.servicers.roles import RoleServicer
from services.auth.settings import AuthSettings
from services.auth.usecases.audit import Audit
from services.auth.usecases.members import Members
from services.auth.usecases.roles import Roles
from services.auth.usecases.sessions import Sessions
from services.common.server import Platform, ServicerRegistration
from services.common.tokens import JWKS_PATH

KEY_FILE = "key-encryption.key"


async def wire(stack: AsyncExitStack, platform: Platform[AuthSettings]) -> list[ServicerRegistration]:
    """Build the servicers, load the signing keys and publish the public ones on the ops server."""
    settings = platform.settings
    sealer = Sealer(settings.secrets_folder / KEY_FILE)
    ring = await stack.enter_async_context(
        KeyRing(platform.sessionmaker, sealer, platform.clock, key_days=settings.signing_key_days)
    )

    async def jwks(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=ring.jwks(), content_type="application/jwk-set+json")

    platform.ops.add_route(JWKS_PATH, jwks)
    passwords = stack.enter_context(
        ArgonPasswords(
            memory_kib=settings.password_memory_kib,
            passes=settings.password_passes,
            threads=settings.password_threads,
            queue=settings.password_queue,
        )
    )
    work = SqlWorkFactory(platform.sessionmaker)
    sessions = Sessions(
        work,
        passwords,
        JwtAccessTokens(
            ring,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            lifetime_seconds=settings.access_token_seconds,
        ),
        ValkeyAttempts(platform.redis),
        platform.clock,
        refresh_lifetime=timedelta(days=settings.refresh_token_days),
    )
    members = Members(work, passwords, platform.clock)
    roles = Roles(work, platform.clock, permission_catalogue())
    return [
        ServicerRegistration(
            auth_service_pb2_grpc.add_AuthServiceServicer_to_server, WithOrigin(AuthServicer(sessions))
        ),
        ServicerRegistration(
            organization_service_pb2_grpc.add_OrganizationServiceServicer_to_server,
            WithOrigin(OrganizationServicer(members)),
        ),
        ServicerRegistration(role_service_pb2_grpc.add_RoleServiceServicer_to_server, WithOrigin(RoleServicer(roles))),
        ServicerRegistration(
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server, WithOrigin(AuditServicer(Audit(work)))
        ),
    ]
