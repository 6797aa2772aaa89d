"""The grammar of WebAuthn, by py_webauthn. Passkeys belong to the host of the web app and verify their holder."""

import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import webauthn
from webauthn.helpers import parse_authentication_credential_json, parse_registration_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from services.auth.domain import User
from services.auth.factor_errors import PasskeyInvalid
from services.auth.passkeys import Asserted, Attested, Passkey

T = TypeVar("T")

_TRANSPORTS = frozenset(transport.value for transport in AuthenticatorTransport)


class PyWebauthn:
    """See `factor_ports.Webauthn`. `public_url` is where browsers reach the web app."""

    def __init__(self, public_url: str, name: str) -> None:
        parts = urlsplit(public_url)
        self._host = parts.hostname or ""
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._name = name

    def creation_options(self, user: User, known: Sequence[Passkey]) -> tuple[str, bytes]:
        options = webauthn.generate_registration_options(
            rp_id=self._host,
            rp_name=self._name,
            user_id=user.id.encode(),
            user_name=user.email,
            user_display_name=user.display_name,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[PublicKeyCredentialDescriptor(id=passkey.id) for passkey in known],
        )
        return webauthn.options_to_json(options), options.challenge

    def attested(self, answer: str, challenge: bytes) -> Attested:
        def verify() -> Attested:
            credential = parse_registration_credential_json(_read(answer))
            verified = webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._host,
                expected_origin=self._origin,
                require_user_verification=True,
            )
            transports = tuple(transport.value for transport in credential.response.transports or ())
            return Attested(
                verified.credential_id,
                verified.credential_public_key,
                verified.sign_count,
                tuple(name for name in transports if name in _TRANSPORTS),
            )

        return _checked(verify)

    def request_options(self) -> tuple[str, bytes]:
        options = webauthn.generate_authentication_options(
            rp_id=self._host, user_verification=UserVerificationRequirement.REQUIRED
        )
        return webauthn.options_to_json(options), options.challenge

    def named(self, answer: str) -> tuple[bytes, str]:
        def read() -> tuple[bytes, str]:
            credential = parse_authentication_credential_json(_read(answer))
            return credential.raw_id, (credential.response.user_handle or b"").decode()

        return _checked(read)

    def asserted(self, answer: str, challenge: bytes, passkey: Passkey) -> Asserted:
        def verify() -> Asserted:
            verified = webauthn.verify_authentication_response(
                credential=_read(answer),
                expected_challenge=challenge,
                expected_rp_id=self._host,
                expected_origin=self._origin,
                credential_public_key=passkey.public_key,
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
            bound = verified.credential_device_type is CredentialDeviceType.SINGLE_DEVICE
            return Asserted(verified.new_sign_count, bound)

        return _checked(verify)


def _read(answer: str) -> dict[str, Any]:
    document = json.loads(answer)
    if not isinstance(document, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the document is wrong, not the argument
    return document


def _checked(work: Callable[[], T]) -> T:
    try:
        return work()
    # What the library meets in bytes from outside, beside errors of its own.
    except (WebAuthnException, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise PasskeyInvalid from None
