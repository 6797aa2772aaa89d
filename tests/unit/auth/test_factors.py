"""Second factors: codes of an app by RFC 6238, recovery codes, challenges and step-up, on ports in memory."""

import base64
import hashlib
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from services.auth.adapters.envelope import AesEnvelope
from services.auth.errors import CredentialsInvalid, PasswordWeak, RefreshTokenInvalid, TooManyAttempts
from services.auth.factor_errors import (
    ChallengeInvalid,
    CodeInvalid,
    EmailNotVerified,
    PasswordNeedsFactor,
    TotpEnabled,
    TotpNotEnabled,
)
from services.auth.factors import MOST_FAILURES, TELLING_FAILURES, hash_recovery_code, matching_step
from services.auth.usecases.accounts import ChangePassword
from services.auth.usecases.mfa import Challenged, Code, StepUp
from services.auth.usecases.opening import SignedIn
from services.auth.usecases.sessions import SignIn
from tests.unit.auth.test_usecases import NEW, PASSWORD, Desk, token_of

# The secret and the times of RFC 6238, appendix B; the codes are the last six of its eight digits.
RFC_SECRET = b"12345678901234567890"
SHORT = "8+3=elvn"


@pytest.fixture
def desk() -> Desk:
    return Desk()


class Phone:
    """An authenticator app."""

    def __init__(self, secret: str, desk: Desk) -> None:
        self._secret = base64.b32decode(secret)
        self._desk = desk

    def code(self, later: int = 0) -> Code:
        """The code shown now, or some seconds later."""
        return Code(totp=code_at(self._secret, int(self._desk.now.timestamp()) + later))


def code_at(secret: bytes, seconds: int) -> str:
    return TOTP(secret, 6, SHA1(), 30).generate(seconds).decode()


async def verified(desk: Desk) -> SignedIn:
    """A founder whose address is verified."""
    signed_in = await desk.founder()
    (mail,) = await desk.letters()
    await desk.accounts.verify_email(token_of(mail))
    return signed_in


async def enrolled(desk: Desk) -> tuple[SignedIn, Phone, list[str]]:
    """A founder with an app and recovery codes."""
    signed_in = await verified(desk)
    principal = signed_in.principal
    secret, _ = await desk.mfa.begin_totp(principal.user.id)
    phone = Phone(secret, desk)
    codes = await desk.mfa.confirm_totp(principal.organization.id, principal.user.id, phone.code().totp)
    desk.now += timedelta(seconds=30)
    return signed_in, phone, codes


async def challenged(desk: Desk) -> str:
    found = await desk.sessions.sign_in(SignIn("ann@example.com", PASSWORD, "", "x"))
    assert isinstance(found, Challenged)
    return found.token


@pytest.mark.parametrize(
    ("now", "code"), [(1111111111, "050471"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")]
)
def test_codes_are_those_of_the_rfc(now: int, code: str) -> None:
    step = now // 30
    assert matching_step(RFC_SECRET, code, now) == step
    assert matching_step(RFC_SECRET, code, now + 30) == step
    assert matching_step(RFC_SECRET, code, now - 30) == step
    assert matching_step(RFC_SECRET, code, now + 61) is None
    assert matching_step(RFC_SECRET, "٠٥٠٤٧١", now) is None


def test_a_recovery_code_is_read_however_it_is_typed() -> None:
    stored = hash_recovery_code("ABCD-EFGH-IJKL-MNOP", b"pepper")
    assert hash_recovery_code(" abcd efgh ijkl mn0p", b"pepper") == stored
    assert hash_recovery_code("ABCD-EFGH-IJKL-MNOP", b"other") != stored
    assert stored != hashlib.sha256(b"ABCDEFGHIJKLMNOP").digest()


def test_a_sealed_secret_opens_for_its_owner_and_with_its_key_only() -> None:
    envelope = AesEnvelope(bytes(32))
    sealed = envelope.seal("usr_1", b"secret")
    assert envelope.open("usr_1", sealed) == b"secret"
    assert b"secret" not in sealed
    assert envelope.seal("usr_1", b"secret") != sealed
    tampered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for wrong, owner, text in (
        (envelope, "usr_2", sealed),
        (AesEnvelope(b"k" * 32), "usr_1", sealed),
        (envelope, "usr_1", tampered),
    ):
        with pytest.raises(ValueError, match="another owner"):
            wrong.open(owner, text)


async def test_an_app_counts_once_a_code_confirms_it(desk: Desk) -> None:
    signed_in = await desk.founder()
    user_id, organization_id = signed_in.principal.user.id, signed_in.principal.organization.id
    with pytest.raises(EmailNotVerified):
        await desk.mfa.begin_totp(user_id)
    (mail,) = await desk.letters()
    await desk.accounts.verify_email(token_of(mail))
    secret, uri = await desk.mfa.begin_totp(user_id)
    assert uri == f"otpauth://totp/Deskmesh:ann%40example.com?secret={secret}&issuer=Deskmesh&digits=6&period=30"
    assert await desk.signed_in()
    with pytest.raises(CodeInvalid):
        await desk.mfa.confirm_totp(organization_id, user_id, Phone(secret, desk).code(later=300).totp)
    codes = await desk.mfa.confirm_totp(organization_id, user_id, Phone(secret, desk).code().totp)
    assert len(set(codes)) == 10
    assert not any(code.replace("-", "") in repr(desk.work.store) for code in codes)
    with pytest.raises(TotpEnabled):
        await desk.mfa.begin_totp(user_id)
    security = await desk.accounts.get(user_id)
    assert (security.totp_enabled, security.recovery_codes_left) == (True, 10)
    assert [mail.subject for mail in await desk.letters()] == ["A second factor was added"]


async def test_setting_up_ends_after_a_while(desk: Desk) -> None:
    signed_in = await verified(desk)
    secret, _ = await desk.mfa.begin_totp(signed_in.principal.user.id)
    desk.now += timedelta(minutes=15)
    code = Phone(secret, desk).code().totp
    with pytest.raises(TotpNotEnabled):
        await desk.mfa.confirm_totp(signed_in.principal.organization.id, signed_in.principal.user.id, code)


async def test_a_code_signs_in_once(desk: Desk) -> None:
    signed_in, phone, _ = await enrolled(desk)
    first, second = await challenged(desk), await challenged(desk)
    done = await desk.mfa.complete_sign_in(first, phone.code(), "x")
    assert done.principal == signed_in.principal
    (family,) = (family for family in desk.work.store.families.values() if "mfa" in family.methods)
    assert (family.methods, family.authenticated_at) == (("pwd", "otp", "mfa"), desk.now)
    for token in (first, second):
        with pytest.raises((ChallengeInvalid, CodeInvalid)):
            await desk.mfa.complete_sign_in(token, phone.code(), "x")
    # A code of an earlier step is no longer good either.
    with pytest.raises(CodeInvalid):
        await desk.mfa.complete_sign_in(second, phone.code(later=-30), "x")


async def test_a_recovery_code_signs_in_once(desk: Desk) -> None:
    _, _, codes = await enrolled(desk)
    await desk.mfa.complete_sign_in(await challenged(desk), Code(recovery=codes[3].lower()), "x")
    with pytest.raises(CodeInvalid):
        await desk.mfa.complete_sign_in(await challenged(desk), Code(recovery=codes[3]), "x")
    await desk.mfa.complete_sign_in(await challenged(desk), Code(recovery=codes[4]), "x")


async def test_a_challenge_ends_after_five_wrong_codes_and_after_five_minutes(desk: Desk) -> None:
    _, phone, _ = await enrolled(desk)
    token = await challenged(desk)
    for _ in range(5):
        with pytest.raises(CodeInvalid):
            await desk.mfa.complete_sign_in(token, phone.code(later=900), "x")
    with pytest.raises(ChallengeInvalid):
        await desk.mfa.complete_sign_in(token, phone.code(), "x")
    token = await challenged(desk)
    desk.now += timedelta(minutes=5)
    with pytest.raises(ChallengeInvalid):
        await desk.mfa.complete_sign_in(token, phone.code(), "x")
    with pytest.raises(ChallengeInvalid):
        await desk.mfa.complete_sign_in("made up", phone.code(), "x")


async def test_guessed_codes_are_told_and_end_the_app_until_a_recovery_code(desk: Desk) -> None:
    _, phone, codes = await enrolled(desk)
    await desk.letters()
    token = ""
    for count in range(MOST_FAILURES):
        token = await challenged(desk) if count % 5 == 0 else token
        with pytest.raises(CodeInvalid):
            await desk.mfa.complete_sign_in(token, phone.code(later=900), "x")
        assert len(desk.work.store.mail_jobs) == (count + 1 >= TELLING_FAILURES)
    with pytest.raises(TooManyAttempts):
        await desk.mfa.complete_sign_in(await challenged(desk), phone.code(), "x")
    await desk.mfa.complete_sign_in(await challenged(desk), Code(recovery=codes[0]), "x")
    await desk.mfa.complete_sign_in(await challenged(desk), phone.code(), "x")


async def test_a_short_password_holds_beside_the_app_and_keeps_it(desk: Desk) -> None:
    signed_in, _, _ = await enrolled(desk)
    user_id, organization_id = signed_in.principal.user.id, signed_in.principal.organization.id

    async def change(old: str, new: str) -> None:
        await desk.accounts.change_password(ChangePassword(user_id, organization_id, ("pwd",), old, new, "x"))

    await change(PASSWORD, SHORT)
    with pytest.raises(PasswordNeedsFactor):
        await desk.mfa.disable_totp(organization_id, user_id)
    await change(SHORT, NEW)
    await desk.mfa.disable_totp(organization_id, user_id)
    assert (await desk.accounts.get(user_id)).recovery_codes_left == 0
    assert isinstance(await desk.sessions.sign_in(SignIn("ann@example.com", NEW, "", "x")), SignedIn)
    with pytest.raises(PasswordWeak):
        await change(NEW, SHORT)
    with pytest.raises(TotpNotEnabled):
        await desk.mfa.replace_recovery_codes(organization_id, user_id)


async def test_step_up_wants_every_factor_and_renews_the_sign_in(desk: Desk) -> None:
    signed_in, phone, _ = await enrolled(desk)
    user_id, organization_id = signed_in.principal.user.id, signed_in.principal.organization.id
    (family_id,) = desk.work.store.families
    desk.now += timedelta(hours=1)

    def proof(password: str = PASSWORD, code: Code | None = None, session: str = family_id) -> StepUp:
        return StepUp(user_id, organization_id, session, password, code, "x")

    with pytest.raises(CredentialsInvalid):
        await desk.mfa.step_up(proof("wrong", phone.code()))
    for code in (None, phone.code(later=900)):
        with pytest.raises(CodeInvalid):
            await desk.mfa.step_up(proof(code=code))
    assert (await desk.mfa.step_up(proof(code=phone.code()))).value
    family = desk.work.store.families[family_id]
    assert (family.authenticated_at, family.methods) == (desk.now, ("pwd", "otp", "mfa"))
    await desk.sessions.sign_out(signed_in.tokens.refresh)
    desk.now += timedelta(seconds=30)
    with pytest.raises(RefreshTokenInvalid):
        await desk.mfa.step_up(proof(code=phone.code()))
