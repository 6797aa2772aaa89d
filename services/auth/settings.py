"""What auth is told from outside, beyond what every service is."""

import base64
import binascii
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.auth.oauth import CLI, SCOPES, check_redirect_uri
from services.common.http import LoopbackAddress
from services.common.settings import ServiceSettings

KEY_BYTES = 32
# Whom people and programs outside reach, but for auth itself.
EXCHANGEABLE = ("knowledge", "orchestrator", "sessions", "tickets", "usage")


class OAuthClient(BaseModel):
    """A program that may ask people to let it in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{2,63}$")
    name: str = Field(min_length=1, max_length=100)
    # HTTPS, or HTTP on 127.0.0.1 or [::1], where without a port any will do.
    redirect_uris: tuple[str, ...] = ()
    scopes: tuple[str, ...] = SCOPES
    # SHA-256, in hexadecimal digits, of a secret of at least 256 random bits; without it the program is a public one.
    secret_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$", repr=False)
    # May ask about tokens of other programs.
    introspects: bool = False
    # Services it may have narrower tokens for, in exchange for those of people; it needs a secret for that.
    exchanges: tuple[str, ...] = ()

    @field_validator("redirect_uris")
    @classmethod
    def _are_safe(cls, uris: tuple[str, ...]) -> tuple[str, ...]:
        for uri in uris:
            check_redirect_uri(uri)
        return uris

    @field_validator("scopes")
    @classmethod
    def _are_known(cls, scopes: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := set(scopes) - set(SCOPES):
            raise ValueError(f"there is no scope {', '.join(sorted(unknown))}")
        return scopes

    @model_validator(mode="after")
    def _proves_who_it_is(self) -> "OAuthClient":
        if self.exchanges and not self.secret_sha256:
            raise ValueError("a program without a secret cannot exchange tokens")
        if unknown := set(self.exchanges) - set(EXCHANGEABLE):
            raise ValueError(f"tokens cannot be exchanged for {', '.join(sorted(unknown))}")
        return self


class AuthSettings(ServiceSettings):
    """Read once from `DESKMESH_*`."""

    # 32 random bytes in base64: the key that seals the signing keys and second factors in the database, and from which
    # others are derived. Without it, it is a file in the secrets folder, made at the first start.
    key_encryption_key: str = Field(default="", repr=False)
    secrets_folder: Path

    # What an API key is exchanged for; longer than a gateway waits for auth to come back.
    key_token_seconds: int = Field(default=300, ge=30, le=3600)
    access_token_seconds: int = Field(default=600, ge=60, le=3600)
    refresh_token_days: int = Field(default=30, ge=1, le=365)
    signing_key_days: int = Field(default=30, ge=1)

    # Identity providers of organizations: whose certificates are trusted in place of the system's authorities, and
    # whether they may stand at private addresses, which whoever configures one could look around at.
    identity_provider_ca_file: Path | None = None
    identity_provider_private_addresses: bool = False

    # Where only the edge reaches the OAuth endpoints; they are not served if both are unset. The address is for a
    # mesh's proxy: on the pod's loopback, without TLS.
    oauth_socket: Path | None = None
    oauth_address: LoopbackAddress = ""
    # The same for the public keys of tokens, which a mesh's control plane fetches, and what was revoked.
    keys_address: LoopbackAddress = ""
    # Programs beside the command line, as JSON.
    oauth_clients: tuple[OAuthClient, ...] = ()

    # Where people reach the web app; links in letters begin with it, passkeys belong to its host, and it is the issuer
    # of ID tokens.
    public_url: str = "https://localhost:8443"
    # smtps://user:password@host:465, or smtp://host:587 with STARTTLS; without it letters go into the folder.
    smtp_url: str = Field(default="", repr=False)
    # Beside the secrets folder if unset.
    mail_folder: Path | None = None
    mail_from: str = "Deskmesh <no-reply@deskmesh.local>"
    # What authenticator apps and devices show beside the address.
    totp_issuer: str = "Deskmesh"
    sign_ups_per_hour: int = Field(default=60, ge=1)

    # Argon2id as OWASP advises: 19 MiB, two passes, one lane; about 30 ms a password.
    password_memory_kib: int = Field(default=19 * 1024, ge=8)
    password_passes: int = Field(default=2, ge=1)
    password_threads: int = Field(default=2, ge=1)
    password_queue: int = Field(default=64, ge=1)

    @field_validator("key_encryption_key")
    @classmethod
    def _is_a_key(cls, text: str) -> str:
        if text and len(_bytes_of(text)) != KEY_BYTES:
            raise ValueError(f"not the base64 of {KEY_BYTES} bytes")
        return text

    @property
    def stored_encryption_key(self) -> bytes:
        """The key as a store gave it; empty without one."""
        return _bytes_of(self.key_encryption_key)

    @model_validator(mode="after")
    def _programs_have_names_of_their_own(self) -> "AuthSettings":
        # An ID token, whose audience is the program, must never pass for an access token.
        names = [client.id for client in self.oauth_clients]
        if len({*names, CLI, self.token_audience}) != len(names) + 2:
            raise ValueError("each OAuth client needs an id of its own, other than the token audience")
        return self


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
