"""Wires auth together."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta

from aiohttp import web

from deskmesh.auth.v1 import (
    account_service_pb2_grpc,
    api_key_service_pb2_grpc,
    audit_service_pb2_grpc,
    auth_service_pb2_grpc,
    consent_service_pb2_grpc,
    identity_provider_service_pb2_grpc,
    invitation_service_pb2_grpc,
    membership_service_pb2_grpc,
    mfa_service_pb2_grpc,
    organization_service_pb2_grpc,
    passkey_service_pb2_grpc,
    role_service_pb2_grpc,
    signing_key_service_pb2_grpc,
)
from services.auth.account_ports import Mailer
from services.auth.adapters.api_keys import BatchedKeyUses
from services.auth.adapters.attempts import ValkeyAttempts
from services.auth.adapters.envelope import AesEnvelope
from services.auth.adapters.limits import ValkeyAllowances
from services.auth.adapters.oauth_grammar import AuthlibGrammar
from services.auth.adapters.oauth_http import OAuthHttp
from services.auth.adapters.oauth_telemetry import OAuthTelemetry
from services.auth.adapters.oauth_tokens import JwtIdTokens, JwtNarrowTokens, JwtReader
from services.auth.adapters.openid import OpenIdProviders
from services.auth.adapters.outside import Outside
from services.auth.adapters.passwords import ArgonPasswords
from services.auth.adapters.retention import purges
from services.auth.adapters.revocations import ValkeyAnnouncer, answer
from services.auth.adapters.roles import permission_catalogue
from services.auth.adapters.signing import JwtAccessTokens, KeyRing, Sealer
from services.auth.adapters.sql import SqlWorkFactory
from services.auth.adapters.webauthn import PyWebauthn
from services.auth.oauth import AUTHORIZATION_CODE, COMMAND_LINE, REFRESH_TOKEN, TOKEN_EXCHANGE, Client
from services.auth.servicer import AuthServicer, OrganizationServicer
from services.auth.servicers.accounts import AccountServicer, SigningKeyServicer
from services.auth.servicers.api_keys import ApiKeyServicer
from services.auth.servicers.audit import AuditServicer
from services.auth.servicers.consents import ConsentServicer
from services.auth.servicers.identity_providers import IdentityProviderServicer
from services.auth.servicers.mfa import MfaServicer
from services.auth.servicers.origin import WithOrigin
from services.auth.servicers.passkeys import PasskeyServicer
from services.auth.servicers.places import InvitationServicer, MembershipServicer
from services.auth.servicers.roles import RoleServicer
from services.auth.settings import AuthSettings
from services.auth.usecases.accounts import Accounts
from services.auth.usecases.api_keys import Keys, ServiceAccounts
from services.auth.usecases.audit import Audit
from services.auth.usecases.consents import Consents
from services.auth.usecases.exchange import Exchanges
from services.auth.usecases.identity_links import IdentityLinks
from services.auth.usecases.identity_providers import IdentityProviders
from services.auth.usecases.invitations import Invitations
from services.auth.usecases.mailroom import MailRoom
from services.auth.usecases.members import Members
from services.auth.usecases.mfa import Codes, Mfa
from services.auth.usecases.opening import Openings
from services.auth.usecases.passkeys import PasskeyUses
from services.auth.usecases.places import Places
from services.auth.usecases.programs import Programs
from services.auth.usecases.provider import Provider
from services.auth.usecases.provider_sign_in import ProviderSignIns
from services.auth.usecases.provider_sign_out import ProviderSignOuts
from services.auth.usecases.roles import Roles
from services.auth.usecases.sessions import Sessions
from services.auth.usecases.signing_keys import SigningKeys
from services.common import revocations
from services.common.http import listen
from services.common.mail import FolderMailer, SmtpMailer
from services.common.ops import Handler
from services.common.server import Platform, ServicerRegistration
from services.common.tokens import JWKS_PATH

KEY_FILE = "key-encryption.key"


async def wire(stack: AsyncExitStack, platform: Platform[AuthSettings]) -> list[ServicerRegistration]:
    """Build the servicers, load the signing keys and publish the public ones on the ops server."""
    settings = platform.settings
    await stack.enter_async_context(platform.janitor(*purges(settings)))
    stored = settings.stored_encryption_key
    sealer = Sealer(stored) if stored else Sealer.of_file(settings.secrets_folder / KEY_FILE)
    ring = await stack.enter_async_context(
        KeyRing(platform.sessionmaker, sealer, platform.clock, key_days=settings.signing_key_days)
    )

    async def jwks(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=ring.jwks(), content_type="application/jwk-set+json")

    work = SqlWorkFactory(platform.sessionmaker)
    await _publish(stack, platform, {JWKS_PATH: jwks, revocations.PATH: answer(work, platform.clock)})
    passwords = stack.enter_context(
        ArgonPasswords(
            memory_kib=settings.password_memory_kib,
            passes=settings.password_passes,
            threads=settings.password_threads,
            queue=settings.password_queue,
        )
    )
    openings = Openings(
        JwtAccessTokens(
            ring,
            issuer=settings.token_issuer,
            audience=settings.token_audience,
            lifetime_seconds=settings.access_token_seconds,
        ),
        platform.clock,
        refresh_lifetime=timedelta(days=settings.refresh_token_days),
        successor_key=sealer.derive("refresh-successor"),
    )
    mailroom = await stack.enter_async_context(
        MailRoom(work, mailer(settings), platform.clock, public_url=settings.public_url)
    )
    attempts, allowances = ValkeyAttempts(platform.redis), ValkeyAllowances(platform.redis)
    announcer = ValkeyAnnouncer(platform.redis)
    sessions = Sessions(
        work,
        passwords,
        openings,
        attempts,
        allowances,
        announcer,
        mailroom.wake,
        platform.clock,
        sign_ups_per_hour=settings.sign_ups_per_hour,
    )
    envelope = AesEnvelope(sealer.derive("totp-secrets"))
    codes = Codes(envelope, platform.clock, pepper=sealer.derive("recovery-codes"))
    mfa = Mfa(
        work,
        passwords,
        attempts,
        openings,
        codes,
        envelope,
        mailroom.wake,
        platform.clock,
        issuer=settings.totp_issuer,
    )
    webauthn = PyWebauthn(settings.public_url, settings.totp_issuer)
    passkeys = PasskeyUses(work, webauthn, openings, allowances, mailroom.wake, platform.clock)
    accounts = Accounts(work, passwords, attempts, allowances, openings, announcer, mailroom.wake, platform.clock)
    members = Members(work, passwords, announcer, platform.clock)
    catalogue = permission_catalogue()
    roles = Roles(work, announcer, platform.clock, catalogue)
    invitations = Invitations(work, passwords, openings, mailroom.wake, platform.clock)
    key_tokens = JwtAccessTokens(
        ring,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        lifetime_seconds=settings.key_token_seconds,
    )
    uses = await stack.enter_async_context(BatchedKeyUses(work))
    keys = Keys(work, key_tokens, uses, announcer, platform.clock, frozenset(catalogue))
    issuer, programs = settings.public_url.rstrip("/"), clients(settings)
    grammar = AuthlibGrammar(issuer, programs)
    pepper = sealer.derive("user-codes")
    consents = Consents(work, grammar, programs, allowances, platform.clock, issuer=issuer, pepper=pepper)
    outside = Outside(ca_file=settings.identity_provider_ca_file, private=settings.identity_provider_private_addresses)
    external = OpenIdProviders(outside)
    provider_secrets = AesEnvelope(sealer.derive("identity-provider-secrets"))
    identity_providers = IdentityProviders(work, external, provider_secrets, announcer, platform.clock)
    provider_sign_ins = ProviderSignIns(
        work, external, provider_secrets, passwords, openings, allowances, announcer, platform.clock, public_url=issuer
    )
    if settings.oauth_socket is not None or settings.oauth_address:
        issued_here = {"issuer": settings.token_issuer, "audience": settings.token_audience}
        reader, narrow_tokens = JwtReader(ring, **issued_here), JwtNarrowTokens(ring, **issued_here)
        provider = Provider(
            work,
            grammar,
            openings,
            sessions,
            JwtIdTokens(ring, issuer),
            reader,
            Exchanges(work, grammar, reader, narrow_tokens, platform.clock, frozenset(catalogue)),
            allowances,
            platform.clock,
            pepper=pepper,
        )
        telemetry = OAuthTelemetry(platform.metrics.registry, settings.trace_sample_ratio)
        sign_outs = ProviderSignOuts(work, external, allowances, announcer, platform.clock)
        endpoints = OAuthHttp(provider, sign_outs, grammar, ring.jwks, issuer, telemetry).application()
        runner = web.AppRunner(endpoints, access_log=None, shutdown_timeout=settings.drain_seconds)
        await listen(stack, runner, socket=settings.oauth_socket, address=settings.oauth_address)
    return [
        ServicerRegistration(
            auth_service_pb2_grpc.add_AuthServiceServicer_to_server, WithOrigin(AuthServicer(sessions))
        ),
        ServicerRegistration(
            account_service_pb2_grpc.add_AccountServiceServicer_to_server, WithOrigin(AccountServicer(accounts))
        ),
        ServicerRegistration(
            passkey_service_pb2_grpc.add_PasskeyServiceServicer_to_server, WithOrigin(PasskeyServicer(passkeys))
        ),
        ServicerRegistration(mfa_service_pb2_grpc.add_MfaServiceServicer_to_server, WithOrigin(MfaServicer(mfa))),
        ServicerRegistration(
            signing_key_service_pb2_grpc.add_SigningKeyServiceServicer_to_server,
            WithOrigin(SigningKeyServicer(SigningKeys(ring, work, platform.clock))),
        ),
        ServicerRegistration(
            organization_service_pb2_grpc.add_OrganizationServiceServicer_to_server,
            WithOrigin(OrganizationServicer(members)),
        ),
        ServicerRegistration(role_service_pb2_grpc.add_RoleServiceServicer_to_server, WithOrigin(RoleServicer(roles))),
        ServicerRegistration(
            invitation_service_pb2_grpc.add_InvitationServiceServicer_to_server,
            WithOrigin(InvitationServicer(invitations)),
        ),
        ServicerRegistration(
            membership_service_pb2_grpc.add_MembershipServiceServicer_to_server,
            WithOrigin(MembershipServicer(Places(work, openings, platform.clock))),
        ),
        ServicerRegistration(
            api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server,
            WithOrigin(ApiKeyServicer(ServiceAccounts(work, announcer, platform.clock), keys)),
        ),
        ServicerRegistration(
            consent_service_pb2_grpc.add_ConsentServiceServicer_to_server,
            WithOrigin(ConsentServicer(consents, Programs(work, programs, announcer, platform.clock))),
        ),
        ServicerRegistration(
            identity_provider_service_pb2_grpc.add_IdentityProviderServiceServicer_to_server,
            WithOrigin(
                IdentityProviderServicer(
                    identity_providers, provider_sign_ins, IdentityLinks(work, announcer, platform.clock)
                )
            ),
        ),
        ServicerRegistration(
            audit_service_pb2_grpc.add_AuditServiceServicer_to_server, WithOrigin(AuditServicer(Audit(work)))
        ),
    ]


async def _publish(stack: AsyncExitStack, platform: Platform[AuthSettings], said: Mapping[str, Handler]) -> None:
    """What every service asks, on the ops server and where a mesh's proxy comes."""
    app = web.Application()
    for path, handler in said.items():
        platform.ops.add_route(path, handler)
        app.router.add_get(path, handler)
    if address := platform.settings.keys_address:
        await listen(stack, web.AppRunner(app, access_log=None), address=address)


def clients(settings: AuthSettings) -> dict[str, Client]:
    """The programs that people may let in, by ID."""
    grants = frozenset({AUTHORIZATION_CODE, REFRESH_TOKEN})
    configured = (
        Client(
            one.id,
            one.name,
            grants | {TOKEN_EXCHANGE} if one.exchanges else grants,
            one.redirect_uris,
            one.scopes,
            bytes.fromhex(one.secret_sha256),
            one.introspects,
            one.exchanges,
        )
        for one in settings.oauth_clients
    )
    return {client.id: client for client in (COMMAND_LINE, *configured)}


def mailer(settings: AuthSettings) -> Mailer:
    """Where letters go. Raises ValueError for a mail server that is not named well."""
    if settings.smtp_url:
        return SmtpMailer(settings.smtp_url, settings.mail_from)
    return FolderMailer(settings.mail_folder or settings.secrets_folder.parent / "mail", settings.mail_from)
