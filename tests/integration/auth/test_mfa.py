"""An authenticator app from set-up to sign-in and step-up, over real mTLS, Postgres and Valkey."""

import asyncio
import base64
import time

import grpc
import grpc.aio
import jwt
import sqlalchemy as sa
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from sqlalchemy.ext.asyncio import create_async_engine

from deskmesh.auth.v1 import account_service_pb2 as account
from deskmesh.auth.v1 import auth_service_pb2 as auth
from deskmesh.auth.v1 import mfa_service_pb2 as mfa
from services.auth import tables
from services.common.db import SqlUnitOfWork, create_sessionmaker
from services.common.errors import from_rpc_error
from tests.integration.auth.people import PASSWORD, AuthClient, Person
from tests.integration.auth.test_accounts import VERIFY
from tests.support.server import Headers, refused


class Phone:
    """An authenticator app; it shows the code of the next step for each use, which the service accepts as well."""

    def __init__(self, secret: str) -> None:
        self.secret = base64.b32decode(secret)

    def code(self, steps: int = 0) -> str:
        return TOTP(self.secret, 6, SHA1(), 30).generate(int(time.time()) + steps * 30).decode()


async def verified(client: AuthClient) -> Person:
    owner = await client.founder()
    token = await client.mailbox.token(owner.email, VERIFY)
    await client.accounts.VerifyEmail(account.VerifyEmailRequest(token=token))
    return owner


async def enrolled(client: AuthClient) -> tuple[Person, Phone, list[str]]:
    """A founder with an app, whose code of the step before was used."""
    owner = await verified(client)
    begun = await client.mfa.BeginTotp(mfa.BeginTotpRequest(), metadata=owner.headers)
    phone = Phone(begun.secret)
    request = mfa.ConfirmTotpRequest(code=phone.code(-1))
    confirmed = await client.mfa.ConfirmTotp(request, metadata=owner.headers)
    return owner, phone, list(confirmed.recovery_codes)


async def challenge(client: AuthClient, person: Person) -> str:
    response = await client.auth.SignIn(auth.SignInRequest(email=person.email, password=PASSWORD))
    assert not response.HasField("tokens")
    assert not response.HasField("principal")
    token: str = response.challenge.token
    return token


def answer(token: str, **code: str) -> mfa.CompleteSignInRequest:
    return mfa.CompleteSignInRequest(challenge_token=token, code=mfa.Code(**code))


async def test_a_password_and_a_code_sign_in(client: AuthClient) -> None:
    owner, phone, _ = await enrolled(client)
    done = await client.mfa.CompleteSignIn(answer(await challenge(client, owner), totp=phone.code()))
    assert done.principal.user.id == owner.user_id
    claims = jwt.decode(done.tokens.access_token, options={"verify_signature": False})
    assert claims["amr"] == ["pwd", "otp", "mfa"]
    got = await client.accounts.GetAccount(account.GetAccountRequest(), metadata=owner.headers)
    assert (got.totp_enabled, got.recovery_codes_left) == (True, 10)


async def test_a_code_works_once_under_fifty_tries_at_once(client: AuthClient) -> None:
    owner, phone, codes = await enrolled(client)
    place: Headers = (("x-forwarded-for", owner.slug),)
    for code in ({"totp": phone.code()}, {"recovery": codes[0]}):
        # Half the tries share a challenge, the others have one each, as far as the limit on sign-ins goes.
        tokens = [await challenge(client, owner) for _ in range(4)]
        requests = [answer(token, **code) for token in (tokens * 13)[:50]]
        results = await asyncio.gather(
            *(client.mfa.CompleteSignIn(request, metadata=place) for request in requests), return_exceptions=True
        )
        assert sum(isinstance(result, mfa.CompleteSignInResponse) for result in results) == 1
        lost = [from_rpc_error(result) for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert {error.reason for error in lost} == {"MFA_CODE_INVALID", "MFA_CHALLENGE_INVALID"}
        assert len(lost) == 49


async def test_secrets_are_sealed_in_the_database_and_tenants_see_none(client: AuthClient) -> None:
    owner, phone, codes = await enrolled(client)
    engine = create_async_engine(client.service.stack.postgres.url("auth"))
    sessions = create_sessionmaker(engine)
    async with SqlUnitOfWork(sessions, system=True) as work:
        totp = tables.totps
        sealed = await work.session.scalar(sa.select(totp.c.sealed_secret).where(totp.c.user_id == owner.user_id))
        hashes = (await work.session.scalars(sa.select(tables.recovery_codes.c.hash))).all()
    assert sealed
    assert phone.secret not in sealed
    assert len(hashes) >= 10
    async with SqlUnitOfWork(sessions, owner.organization_id) as work:
        for table in (tables.totps, tables.recovery_codes, tables.challenges, tables.accounts, tables.mail_links):
            assert (await work.session.execute(sa.select(table))).all() == []
    await engine.dispose()
    assert codes


async def test_a_dangerous_call_wants_a_fresh_proof_and_gets_one(client: AuthClient) -> None:
    owner, phone, _ = await enrolled(client)
    stale = await _aged(client, owner)
    async with refused() as refusal:
        await client.mfa.ReplaceRecoveryCodes(mfa.ReplaceRecoveryCodesRequest(), metadata=stale)
    assert (refusal.error.code, refusal.error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "STEP_UP_REQUIRED")
    async with refused() as refusal:
        await client.mfa.StepUp(mfa.StepUpRequest(password=PASSWORD), metadata=stale)
    assert refusal.error.reason == "MFA_CODE_INVALID"
    request = mfa.StepUpRequest(password=PASSWORD, code=mfa.Code(totp=phone.code()))
    proved = (await client.mfa.StepUp(request, metadata=stale)).access_token
    fresh = (("authorization", f"Bearer {proved.value}"),)
    replaced = await client.mfa.ReplaceRecoveryCodes(mfa.ReplaceRecoveryCodesRequest(), metadata=fresh)
    assert len(replaced.recovery_codes) == 10
    await client.mfa.DisableTotp(mfa.DisableTotpRequest(), metadata=fresh)
    await client.sign_in(owner)


async def _aged(client: AuthClient, person: Person) -> Headers:
    """Headers of the same sign-in, as if its person had proved who they are an hour ago."""
    engine = create_async_engine(client.service.stack.postgres.url("auth"))
    async with SqlUnitOfWork(create_sessionmaker(engine), system=True) as work:
        families = tables.refresh_families
        hour = sa.text("interval '1 hour'")
        chosen = sa.update(families).where(families.c.user_id == person.user_id)
        await work.session.execute(chosen.values(authenticated_at=families.c.authenticated_at - hour))
        await work.commit()
    await engine.dispose()
    request = auth.RefreshTokenRequest(refresh_token=person.refresh_token)
    token = (await client.auth.RefreshToken(request)).tokens.access_token
    return (("authorization", f"Bearer {token}"),)
