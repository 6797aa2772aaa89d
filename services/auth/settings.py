"""What auth is told from outside, beyond what every service is."""

from pathlib import Path

from pydantic import Field

from services.common.settings import ServiceSettings


class AuthSettings(ServiceSettings):
    """Read once from `DESKMESH_*`."""

    # Holds the key that encrypts the signing keys in the database; made at the first start.
    secrets_folder: Path

    # What an API key is exchanged for; longer than a gateway waits for auth to come back.
    key_token_seconds: int = Field(default=300, ge=30, le=3600)
    access_token_seconds: int = Field(default=600, ge=60, le=3600)
    refresh_token_days: int = Field(default=30, ge=1, le=365)
    signing_key_days: int = Field(default=30, ge=1)

    # Where people reach the web app; links in letters begin with it, and passkeys belong to its host.
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
